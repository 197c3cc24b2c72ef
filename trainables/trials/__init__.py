"""What every trial is made of: the contract of its work, and what keeps it alive."""
