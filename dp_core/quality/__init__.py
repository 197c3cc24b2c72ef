"""How good distilled sets are: for fresh networks, for masks, in few steps, in feature space."""
