"""Files, folders, data sets of the Hub and texts in memory, each read into the same tables."""
