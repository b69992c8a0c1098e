"""Continuous batching over a hybrid cache: prompt ids in, token events out.

The engine's step is one sentence: schedule, run, sample, commit. `request`, `blocks`, `states`, `prefixes`, `memory`
and `scheduler` decide with plain integers; `runner`, `sampler` and `grammar` compute; `service` gives it a thread.
"""
