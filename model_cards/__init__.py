"""Model cards, written from the files of a run folder."""
