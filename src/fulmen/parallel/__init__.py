"""Many processes: who is who under torchrun, and how a finished model is sharded over them from outside."""
