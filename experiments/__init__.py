"""One file is one study; its docstring holds the question, the command and the cost."""
