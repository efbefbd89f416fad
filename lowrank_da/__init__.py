"""Full fine-tuning against low-rank adaptation for telling human from machine text."""

__version__ = "0.1.0"
