"""From files, folders and Hub data sets to labelled, split and tokenized texts."""
