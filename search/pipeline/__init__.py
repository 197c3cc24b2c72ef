"""A search: prepare, distil, screen, write tickets, promote, retrain, rank."""
