"""Training: samples to new weights. Read `trainer` first, then `run`, the loop over stages around it."""
