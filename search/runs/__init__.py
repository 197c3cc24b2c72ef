"""What every kind of run has: its directory, its record, its life cycle, its jobs."""
