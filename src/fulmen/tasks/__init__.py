"""Tasks: problems with rewards, in small files that prove themselves.

One task serves four users: fine-tuning takes its demonstrations, reinforcement learning its scores, evaluation both
its held-out examples and its scores, and the tests its proofs. No torch here.
"""
