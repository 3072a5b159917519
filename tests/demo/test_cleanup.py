"""What the demonstration leaves, and what it does not touch."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from authz.demo.cleanup import PREFIX, ended_once, scratch


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are made, with one that was left long ago."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left(tmp_path, "left")
    return tmp_path


def left(folder: Path, name: str, *, old: bool = True) -> Path:
    """A folder with a key."""
    made = folder / f"{PREFIX}{name}"
    made.mkdir()
    (made / "alice.key").touch()
    if old:
        os.utime(made, (0, 0))
    return made


def test_folder_that_was_left_is_removed_and_reported(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the new one is its owner's alone, and gone in the end."""
    with scratch() as made:
        assert list(temporary.iterdir()) == [made]
        assert made.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []
    assert f"removed {temporary}/{PREFIX}left" in capsys.readouterr().err


def test_folder_that_may_be_anybodys_is_left_alone(temporary: Path) -> None:
    """One that was just made, one that is held, a link to somewhere, a file, and another user's."""
    left(temporary, "young", old=False)
    held = os.open(left(temporary, "held"), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    (temporary / "keys").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "keys")
    (temporary / f"{PREFIX}file").touch()
    names = {"young", "held", "link", "file"}
    if os.geteuid() == 0:
        os.chown(left(temporary, "foreign"), 4321, 4321)
        os.utime(temporary / f"{PREFIX}foreign", (0, 0))
        names.add("foreign")
    with scratch():
        pass
    os.close(held)
    assert {one.name for one in temporary.iterdir()} == {f"{PREFIX}{name}" for name in names} | {"keys"}


def ended_twice(number: signal.Signals) -> None:
    """A block that is ended, and signalled again while it tidies up."""
    with ended_once():
        try:
            signal.raise_signal(number)
        finally:
            for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.raise_signal(one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_ends_the_block_once(number: signal.Signals) -> None:
    """What follows does not disturb what tidies up, and the handlers of before come back."""
    before = signal.getsignal(number)
    with pytest.raises((SystemExit, KeyboardInterrupt)) as caught:
        ended_twice(number)
    assert caught.type is KeyboardInterrupt or caught.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_signal_that_was_ignored_stays_so() -> None:
    """`nohup authz demo` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_once():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
