"""Tools that a model may call, and the sandbox in which code that nobody vouches for runs."""
