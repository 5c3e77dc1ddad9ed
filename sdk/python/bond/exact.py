"""JSON in which every number keeps its digits."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def to_json(value: Any) -> str:
    """Writes JSON; a `Decimal` becomes a number with all of its digits. Raises `ValueError` for what no JSON number can be."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"not a finite number: {value}")
        return str(value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the keys of a JSON object are texts")
        return "{" + ",".join(f"{json.dumps(key)}:{to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Reads JSON; a number with a point or an exponent becomes a `Decimal`."""
    return json.loads(text, parse_float=Decimal)
