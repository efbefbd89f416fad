"""What is done to the layout of texts, so that it does not tell the classes apart."""

SENTENCE_ENDS = ".!?"


def clean(text: str) -> str:
    """`text` in single spaces, cut back to its last sentence end; empty when it has none."""
    line = " ".join(text.split())
    return line[: max(line.rfind(end) for end in SENTENCE_ENDS) + 1]


def role(digest: str, shares: tuple[tuple[str, float], ...]) -> str:
    """The role of a SHA-256 (hexadecimal), read as a number in [0, 1); `shares` are upper ends."""
    share = int(digest[:8], 16) / 2**32
    return next(name for name, end in shares if share < end)
