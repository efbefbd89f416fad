"""One file, one kind of figure."""
