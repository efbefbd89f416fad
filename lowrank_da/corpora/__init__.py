"""One file is one corpus; its name is the file's name."""
