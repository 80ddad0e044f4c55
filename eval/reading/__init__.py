"""A trained classifier, and what it answers to texts."""
