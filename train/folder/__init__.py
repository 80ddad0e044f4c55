"""What a run's folder may hold, and the record of how it was made."""
