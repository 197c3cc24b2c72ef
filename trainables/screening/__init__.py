"""Trials that prune a candidate and score it, for real or simulated."""
