"""The training loop: batches, devices, precision, checkpoints."""
