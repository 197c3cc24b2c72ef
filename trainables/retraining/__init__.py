"""Trials that train a ticket on real images."""
