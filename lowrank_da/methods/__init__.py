"""One file is one adaptation method; its name is the file's name."""
