"""Searching: spaces, Optuna, schedulers, promotion, the run directory, reports, cluster and the command line."""
