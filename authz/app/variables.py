"""The `AUTHZ_…` variables of the environment: those that name settings, and those that Kubernetes makes of Services."""

from __future__ import annotations

import os
import re
from typing import Final

PREFIX: Final = "AUTHZ_"

DEFAULT_DATABASE: Final = "sqlite:///authz.db"

_is_of_service: Final = re.compile(
    r"(?:[A-Z0-9]+_)*?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
).fullmatch
"""What follows AUTHZ_ in the variables of a Service called authz, or authz-NAME (Kubernetes, "Service")."""


def variables() -> list[str]:
    """Those that are to name a setting."""
    return [name for name in _every() if not _is_kubernetes(name)]


def passed_over() -> list[str]:
    """Those that Kubernetes makes of the names of Services: no settings, though they begin alike."""
    return list(filter(_is_kubernetes, _every()))


def setting_of(variable: str) -> str:
    """The setting that a variable is to name, with two underscores between section and setting."""
    return variable[len(PREFIX) :].lower()


def database_of_environment() -> str | None:
    """The `database` where nothing but it is set by a variable; None where the settings must be read for it."""
    if {setting_of(name) for name in variables()} - {"database"}:
        return None
    return next((os.environ[name] for name in variables()), DEFAULT_DATABASE)


def _every() -> list[str]:
    return [name for name in os.environ if name.upper().startswith(PREFIX)]


def _is_kubernetes(variable: str) -> bool:
    return _is_of_service(variable.removeprefix(PREFIX)) is not None
