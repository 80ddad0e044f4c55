"""Training: data, labels, models by name, losses, the run folder and publishing."""
