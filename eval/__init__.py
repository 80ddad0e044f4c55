"""Scores of a model, and which words it read."""
