"""`eval.py predict`: files of texts in, the same rows with labels and probabilities out."""
