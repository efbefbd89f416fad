"""The tables, figures and text: pure functions of records and published numbers, without torch."""
