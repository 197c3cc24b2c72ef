"""Judging cheap scores of architectures by real training: the `winnow proxy-eval` command."""
