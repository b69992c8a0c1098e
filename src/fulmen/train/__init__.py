"""Training: samples to new weights. Never imports the engine."""
