"""Tools that a model may call: Python functions and MCP servers behind one registry, those that are built in, and the
sandbox in which code that nobody vouches for runs.
"""
