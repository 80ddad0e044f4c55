"""`eval.py study`."""
