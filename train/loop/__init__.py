"""The loop: order of the texts, losses, and the trainer."""
