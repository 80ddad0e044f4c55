"""`eval.py benchmark`."""
