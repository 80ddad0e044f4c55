"""A trained classifier as a Gradio Space that anyone can try."""
