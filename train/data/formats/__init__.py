"""One module for each format of files: from bytes to a table of columns, or a sentence with the line that is wrong."""
