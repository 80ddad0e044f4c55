"""`eval.py baseline`."""
