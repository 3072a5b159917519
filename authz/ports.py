"""The interfaces through which the service reaches the outside; the adapters implement them, tests fake some."""

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
        """Seconds since an arbitrary fixed point."""
        ...


class Source(Protocol):
    """Something that rows can be loaded from: the directory, the key sets, the distribution points of CRLs."""

    async def load(self, key: Hashable) -> bool:
        """Load the row that `NotLoaded(key)` asked for; False if the key is not this source's.

        Returns True once the row is loaded, or known to be absent. Raises `Refused` if it cannot be loaded
        now (directory unavailable, overloaded).
        """
        ...


class Directory(Source, Protocol):
    """Organizations, users, anchors, registered certificates and CRLs at one confirmed revision."""

    def view(self) -> View:
        """A view of the revision known now.

        Raises `Refused` (directory_unavailable) if the revision was not confirmed for 2 seconds.
        """
        ...


class CrlView(Protocol):
    """The CRLs as they are now, and the state of their sources; part of every view."""

    def crls(self) -> CrlStore:
        """All CRLs. Raises `NotLoaded` until they were read for the first time."""
        ...

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.view.View`."""
        ...

    def directory_read(self, revision: Hashable) -> None:
        """Called after the directory was read; if `revision` differs from the last one, its CRLs changed."""
        ...

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View.request_crls`."""
        ...


class Observer(Protocol):
    """Receives every decision once, after it was made; must not raise and must not wait."""

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:
        """`decision` was made about `check` in `seconds`."""
        ...

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """The service failed with `error` while it decided `check`; the answer is a denial."""
        ...
