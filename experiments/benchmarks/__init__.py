"""One file is one benchmark: ratios measured side by side in one run, beside the compute limit."""
