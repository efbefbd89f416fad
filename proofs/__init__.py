"""The claims behind the thesis: each proved, each hypothesis shown to be needed."""
