"""The published numbers, read from `published.toml` as exact decimals with the digits printed."""

import tomllib
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any


@cache
def published() -> dict[str, Any]:
    """`published.toml` as nested dicts; floats are `Decimal`, so `str(x)` is what was printed."""
    text = (Path(__file__).parent / "published.toml").read_text()
    return tomllib.loads(text, parse_float=Decimal)
