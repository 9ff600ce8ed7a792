"""Pretraining: an encoder learns to answer a pretext task's question."""
