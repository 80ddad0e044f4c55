"""The flags of all programs: their groups, the rules between them, and the parser."""
