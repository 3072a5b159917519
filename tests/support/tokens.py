"""Tokens whose header and claims are exactly what a test says; PyJWT writes no null, and refuses some itself."""

from __future__ import annotations

import base64
import json
from typing import Any

from jwt.algorithms import get_default_algorithms

ALGORITHMS = get_default_algorithms()


def signed(key: Any, algorithm: str, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A JWS in compact form (RFC 7515 section 7.1), signed as `algorithm` says, whatever the header says."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = ALGORITHMS["EdDSA" if algorithm.startswith("Ed") else algorithm].sign(b".".join(parts), key)
    return b".".join((*parts, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()
