"""Comparing ways to find a mask on the same seeds and initial weights: the `winnow prune` command."""
