"""The failure modes of the Newsgroups paper, looked for inside a model."""
