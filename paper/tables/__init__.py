"""One file, one kind of table."""
