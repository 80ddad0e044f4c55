"""Which words decided, and whether that may be believed."""
