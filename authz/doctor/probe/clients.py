"""As which clients the probes ask: certificates and tokens of a canary organization, or of one real test user."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from authz.doctor.findings import Unreadable
from authz.doctor.probe.dialing import Shown

BAD: Final = ("revoked", "expired", "foreign", "self-signed")
"""Certificates with which no client may get through, not even a user who needs none."""

CANARY_FILE: Final = "canary.json"
"""What `authz doctor prepare` writes of the canary; a folder without it was not made by it."""


@dataclass(frozen=True)
class Clients:
    """What there is to show; what is missing leaves its probes unproven.

    `token` is of a user whose own certificate is `good`, `off_token` of one who needs none. `bad` are certificates by
    what is wrong with them, `other` is a good one of another user's, `large` is a revoked one with a long chain.
    `other_host` is another tenant's.
    """

    token: str | None = None
    off_token: str | None = None
    good: Shown | None = None
    other: Shown | None = None
    large: Shown | None = None
    bad: dict[str, Shown] = field(default_factory=dict)
    other_host: str = "another-tenant.invalid"

    @property
    def payload(self) -> str | None:
        """The payload of the token of a user who needs no certificate, base64url."""
        token = self.off_token or self.token
        return None if token is None or token.count(".") != 2 else token.split(".")[1]


def shown(folder: Path, name: str) -> Shown | None:
    """`name.pem` and `name.key` in a folder, if they are there."""
    made = Shown(folder / f"{name}.pem", folder / f"{name}.key")
    return made if made.certificate.is_file() and made.key.is_file() else None


def canary_clients(folder: Path) -> Clients:
    """The canary of a folder that `authz doctor prepare` made. Raises `Unreadable`."""
    try:
        json.loads((folder / CANARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unreadable(f"{folder} holds no canary: authz doctor prepare makes one") from error
    bad = {name: certificate for name in BAD if (certificate := shown(folder, name)) is not None}
    tokens = {name: _text(folder / f"{name}.token") for name in ("good", "off")}
    return Clients(
        tokens["good"], tokens["off"], shown(folder, "good"), shown(folder, "other"), shown(folder, "large"), bad
    )


def _text(path: Path) -> str | None:
    return path.read_text(encoding="ascii").strip() if path.is_file() else None
