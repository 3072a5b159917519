"""One check from question to answer: loading, bounds, and that whatever fails denies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from datetime import datetime

import pytest
from pki_factory import NOW
from world import ALICE, CA, MemoryView, Says, request, standard_view

from authz.decision import Allow, Decision, Deny
from authz.errors import Refused
from authz.model import CheckRequest
from authz.reasons import Reason
from authz.service import Limits, Service
from authz.view import Door

DOOR = Door("test", (Says("alice"),))
CHECK = request(ALICE, CA)


class Clock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """The moment."""
        return NOW

    def monotonic(self) -> float:
        """The counter."""
        return 0.0


class Observer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.errors: list[BaseException] = []

    def decided(self, check: CheckRequest, door: Door, decision: Decision, seconds: float) -> None:
        """Remember a decision."""
        self.decisions.append(decision)

    def failed(self, check: CheckRequest, door: Door, error: BaseException) -> None:
        """Remember a failure."""
        self.errors.append(error)


class Directory:
    """A directory over a view in memory; `on_load` says what loading a key does."""

    def __init__(self, view: MemoryView, on_load: Callable[[Hashable], None] | None = None) -> None:
        self.held = view
        self.loaded: list[Hashable] = []
        self.on_load = on_load or self.held.missing.discard
        self.gate: asyncio.Event | None = None

    def view(self) -> MemoryView:
        """The view."""
        return self.held

    async def load(self, key: Hashable) -> bool:
        """Load a key."""
        self.loaded.append(key)
        if self.gate is not None:
            await self.gate.wait()
        self.on_load(key)
        return True


def service(directory: Directory, **limits: float) -> tuple[Service, Observer]:
    """A service and its observer."""
    observer = Observer()
    return Service(directory, Clock(), observer, limits=Limits(**limits)), observer  # type: ignore[arg-type]


def missing(*keys: Hashable) -> MemoryView:
    """The standard view without some rows."""
    view = standard_view()
    view.missing = set(keys)
    return view


HOST, USER = ("host", "acme.example.test"), ("user", "alice")


async def test_check_with_everything_at_hand_loads_nothing() -> None:
    """The usual case never waits."""
    directory = Directory(standard_view())
    checked, observer = service(directory)
    assert isinstance(await checked.check(CHECK, DOOR), Allow)
    assert directory.loaded == []
    assert len(observer.decisions) == 1


async def test_check_loads_what_is_missing_and_starts_again() -> None:
    """Row by row, each once."""
    directory = Directory(missing(HOST, USER))
    assert isinstance(await service(directory)[0].check(CHECK, DOOR), Allow)
    assert directory.loaded == [HOST, USER]


async def test_row_that_never_comes_ends_in_a_denial() -> None:
    """A directory that changes faster than it is read is not asked for ever."""
    directory = Directory(missing(HOST), on_load=lambda _: None)
    decision = await service(directory, loads=3)[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.DIRECTORY_UNAVAILABLE
    assert len(directory.loaded) == 3


async def test_load_that_hangs_ends_in_a_denial() -> None:
    """Waiting is bounded, below the proxy's time-out."""
    directory = Directory(missing(HOST))
    directory.gate = asyncio.Event()
    decision = await service(directory, seconds=0.01)[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.DIRECTORY_UNAVAILABLE


async def test_check_beyond_the_bound_is_overloaded_at_once() -> None:
    """Those who wait are counted; those who need not wait are served all the same."""
    directory = Directory(missing(HOST))
    directory.gate = asyncio.Event()
    checked, observer = service(directory, concurrent_checks=1, seconds=10)
    first = asyncio.create_task(checked.check(CHECK, DOOR))
    await asyncio.sleep(0)
    second = await checked.check(CHECK, DOOR)
    assert isinstance(second, Deny)
    assert second.reason is Reason.OVERLOADED
    directory.gate.set()
    assert isinstance(await first, Allow)
    assert len(observer.decisions) == 2


@pytest.mark.parametrize("reason", [Reason.DIRECTORY_UNAVAILABLE, Reason.OVERLOADED])
async def test_refusal_of_the_directory_is_the_answer(reason: Reason) -> None:
    """What it raises while loading is a denial with its own reason."""

    def refuse(_key: Hashable) -> None:
        raise Refused(reason)

    decision = await service(Directory(missing(HOST), refuse))[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is reason


async def test_view_that_cannot_be_had_is_a_denial() -> None:
    """An unconfirmed revision decides nothing."""
    directory = Directory(standard_view())

    def unavailable() -> MemoryView:
        raise Refused(Reason.DIRECTORY_UNAVAILABLE)

    directory.view = unavailable  # type: ignore[method-assign]
    decision = await service(directory)[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason.status == 503


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError("x"), RecursionError(), MemoryError()])
async def test_anything_that_fails_inside_denies(error: Exception) -> None:
    """Counted, told to the observer, and never allowed."""

    def fail(_key: Hashable) -> None:
        raise error

    checked, observer = service(Directory(missing(HOST), fail))
    decision = await checked.check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.INTERNAL_ERROR
    assert observer.errors == [error]


async def test_key_that_nobody_loads_is_an_internal_error() -> None:
    """A source must answer for every key."""
    directory = Directory(missing(HOST))

    async def not_mine(_key: Hashable) -> bool:
        return False

    directory.load = not_mine  # type: ignore[method-assign]
    checked, observer = service(directory)
    assert isinstance(await checked.check(CHECK, DOOR), Deny)
    assert isinstance(observer.errors[0], LookupError)
