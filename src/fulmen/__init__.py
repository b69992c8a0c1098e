"""Fulmen: an open, complete MiniMax-M1."""
