"""A policy answers conversations: what evaluation and reinforcement learning share."""
