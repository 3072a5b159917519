"""JSON objects from outside, read strictly: each name once, no NaN, nothing that could be read in two ways."""

from __future__ import annotations

import json
from typing import Any


def read_object(data: bytes) -> dict[str, Any]:
    """The object that `data` is, in UTF-8. Raises `ValueError`, also for nesting deeper than the parser bears."""
    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004 - told like everything the parser finds
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8259 section 4 leaves a repeated name undefined: two readers may see two users."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is repeated")
    return members


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
