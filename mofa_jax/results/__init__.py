"""The files that results are kept in: their names, written and read back."""
