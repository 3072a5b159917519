"""The sockets of a service, as its settings change."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.app.config import Settings, parse_settings
from authz.app.listeners import Sockets, warn_of_weakness
from authz.errors import ConfigError


def settings(folder: Path, *names: str, mode: str = "0660") -> Settings:
    """Listeners at Unix sockets of these names."""
    listeners = [{"name": name, "address": f"unix:{folder}/{name}.sock", "socket_mode": mode} for name in names]
    return parse_settings({"listener": listeners, "ops": {"address": "127.0.0.1:0"}}, origin="test")


def test_socket_whose_address_stays_is_kept_with_its_new_mode(tmp_path: Path) -> None:
    """Changed settings keep the socket itself, and change the mode of its file."""
    sockets = Sockets.open(settings(tmp_path, "a"))
    updated = sockets.updated(settings(tmp_path, "a", "b", mode="0600"))
    assert updated["a"] is sockets["a"]
    assert [(tmp_path / f"{name}.sock").stat().st_mode & 0o777 for name in "ab"] == [0o600, 0o600]
    updated.close(sockets)
    assert [path.name for path in tmp_path.glob("*.sock")] == ["a.sock"]
    sockets.close()
    assert list(tmp_path.glob("*.sock")) == []


def test_update_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Where one of the new addresses cannot be used, no new socket stays open, and no mode has changed."""
    sockets = Sockets.open(settings(tmp_path, "a"))
    (tmp_path / "c.sock").write_text("not a socket")
    with pytest.raises(ConfigError, match="is not a socket"):
        sockets.updated(settings(tmp_path, "a", "b", "c", mode="0600"))
    assert not (tmp_path / "b.sock").exists()
    assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o660
    sockets.close()


def test_listener_without_a_statement_is_warned_of() -> None:
    """By its name, with what a client can do about the header."""
    warnings: list[str] = []
    stated = {"name": "stated"}
    unstated = {"name": "unstated", "client_cert_indicator": {"form": "none"}}
    warn_of_weakness(parse_settings({"listener": [stated, unstated]}, origin="test"), warnings.append)
    (warning,) = warnings
    assert "of unstated" in warning
    assert "x-forwarded-client-cert, as by a Connection header" in warning


def test_plaintext_beyond_loopback_is_warned_of(tmp_path: Path) -> None:
    """It was asked for by a name that says what it is; a listener that only this machine reaches needs no warning."""
    warnings: list[str] = []
    listeners = [{"address": "0.0.0.0:0", "unsafe_plaintext": True}, {"name": "own", "address": "127.0.0.1:0"}]
    warn_of_weakness(parse_settings({"listener": listeners}, origin="test"), warnings.append)
    (warning,) = warnings
    assert "every client of 0.0.0.0:0 can claim any certificate" in warning
