"""What a run writes and reads: its folder, encoders, models, and where they came from."""
