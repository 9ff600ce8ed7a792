"""Fine-tuning: an encoder and a new head learn a downstream task from few labels."""
