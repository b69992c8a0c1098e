"""The architecture: a hybrid decoder of lightning and softmax attention layers, and what it remembers."""
