"""Evaluation: policies on held-out problems, with standard errors and the failures to read."""
