"""Numbers from labels and answers; nothing here needs torch or a model."""
