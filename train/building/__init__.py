"""A fresh model and its tokenizer, by the name that `--model` gives."""
