"""How fast the engine trains, beside stock PyTorch and what the machine could do."""
