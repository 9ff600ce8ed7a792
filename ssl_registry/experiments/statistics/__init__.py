"""What the repeats say: estimates, summaries, verdicts."""
