"""`winnow distill`: distilled sets as runs of their own, and their evaluation."""
