"""`eval.py score`."""
