"""What the service needs of the world, as protocols; the adapters implement them, tests fake clock and wire."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.decision import Decision
    from authz.model import CheckRequest, Organization
    from authz.pki import CrlStore, ModeOf
    from authz.view import Listener, View


class Clock(Protocol):
    """The time of day for decisions, and a counter that never goes back for durations."""

    def now(self) -> datetime:
        """The current moment, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point."""
        ...


class Source(Protocol):
    """Somewhere a row can be loaded from: the directory, a key set, later a CRL's distribution point."""

    async def load(self, key: Hashable) -> bool:
        """Load what `NotLoaded(key)` asked for; False when the key is not this source's.

        Returns normally when the row is loaded, or known to be absent. Raises `Refused` when it cannot
        be loaded now (directory unavailable, overloaded).
        """
        ...


class Directory(Source, Protocol):
    """Organizations, users, anchors, registered certificates and CRLs at one confirmed revision."""

    def view(self) -> View:
        """A view bound to the revision known now.

        Raises `Refused` (directory_unavailable) when the revision was not confirmed for 2 seconds.
        """
        ...


class CrlView(Protocol):
    """The CRLs as they are now, and what is known of where they come from; part of every view."""

    def crls(self) -> CrlStore:
        """All of them. Raises `NotLoaded` before they were read for the first time."""
        ...

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.view.View`."""
        ...

    def directory_read(self, revision: Hashable) -> None:
        """The directory was read; a `revision` that is not the one before says that its CRLs changed."""
        ...

    def seek(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View.request_crls`."""
        ...


class Observer(Protocol):
    """Is told of every decision, once, after it was made; must not raise and must not wait."""

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:
        """`decision` was made about `check` in `seconds`."""
        ...

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """The service failed inside while it decided `check`; the answer is a denial."""
        ...
