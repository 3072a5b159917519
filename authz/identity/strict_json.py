"""JSON objects from outside, read strictly: no repeated names, no NaN, nothing that two readers read differently."""

from __future__ import annotations

import json
import re
from typing import Any, Final


def read_object(data: bytes) -> dict[str, Any]:
    """The object in `data`, in UTF-8. Raises `ValueError`, also for nesting that is too deep for the parser."""
    try:
        parsed = _DECODER.decode(data.decode("utf-8"))
        if b"\\u" in data and _SURROGATE.search(data):
            # Two are a character; one alone is not (RFC 7493 section 2.1), and nothing can store it.
            json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a character") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004 - reported like all errors of the parser
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8259 section 4 leaves repeated names undefined: two readers may see two users."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is repeated")
    return members


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")

_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
"""Made once: `json.loads` makes one for each call."""
