"""Pretraining and fine-tuning on Lightning, run folders and encoder files."""
