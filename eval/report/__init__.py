"""`eval.py report`."""
