"""The sockets of a service, as its settings change."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.app.config import Settings, parse_settings
from authz.app.listeners import HEALTH_PROBES, OPERATORS, Sockets, check_listeners, warn_of_weakness
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


def test_socket_whose_file_another_process_replaced_is_lost(tmp_path: Path) -> None:
    """Of two services that start at one address; a file that was only removed is no other's."""
    sockets = Sockets.open(settings(tmp_path, "a", "b"))
    (tmp_path / "a.sock").unlink()
    assert sockets.lost == []
    other = Sockets.open(settings(tmp_path, "a"))
    assert sockets.lost == [f"unix:{tmp_path}/a.sock"]
    sockets.close()
    assert other.lost == []
    other.close()


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


def ops(**section: object) -> Settings:
    """Settings with this section `ops`."""
    return parse_settings({"listener": [{"address": "127.0.0.1:0"}], "ops": section}, origin="test")


TLS = {"certificate": "server.pem", "key": "server.key", "client_ca": "ca.pem", "names": ["prometheus.example.test"]}


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:9901"])
def test_operators_pages_stay_on_loopback_unless_clients_are_authenticated(address: str) -> None:
    """They name organizations: others may connect with TLS and names, or where the setting says it is unsafe."""
    with pytest.raises(ConfigError, match="read the operators' pages"):
        check_listeners(ops(address=address))
    check_listeners(ops(address=address, tls=TLS))
    check_listeners(ops(address=address, unsafe_plaintext=True))


@pytest.mark.parametrize("section", [{"tls": TLS}, {"unsafe_plaintext": True}, {}])
def test_health_probes_stay_on_loopback_whatever_the_pages_do(section: dict[str, object]) -> None:
    """They show no certificate, so that no other machine may ask."""
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:9902 is not loopback"):
        check_listeners(ops(health_probe_address="0.0.0.0:9902", **section))


def test_operators_listeners_have_sockets_of_their_own(tmp_path: Path) -> None:
    """Under names that no listener of proxies can have; the file of a Unix socket is closed to other accounts."""
    probes = tmp_path / "probes.sock"
    sockets = Sockets.open(ops(address="127.0.0.1:0", health_probe_address=f"unix:{probes}"))
    assert set(sockets) == {"envoy", *OPERATORS}
    assert probes.stat().st_mode & 0o777 == 0o660
    sockets.close()
    assert not probes.exists()
    with pytest.raises(ConfigError):
        parse_settings({"listener": [{"name": HEALTH_PROBES}]}, origin="test")


def test_operators_pages_in_plain_text_beyond_loopback_are_warned_of() -> None:
    """At every start, with what they say."""
    warnings: list[str] = []
    warn_of_weakness(ops(address="0.0.0.0:9901", unsafe_plaintext=True), warnings.append)
    assert warnings == [
        "ops.unsafe_plaintext: every client of 0.0.0.0:9901 reads the names of organizations and of sources of CRLs"
    ]
    warn_of_weakness(ops(address="0.0.0.0:9901", tls=TLS), warnings.append)
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "section",
    [
        {"address": "127.0.0.1:0", "tls": TLS, "unsafe_plaintext": True},
        {"address": "unix:/run/authz/ops.sock", "tls": TLS},
        {"address": "127.0.0.1:0", "tls": TLS | {"names": []}},
        {"address": "127.0.0.1:0", "tls": {"certificate": "server.pem", "key": "server.key", "client_ca": "ca.pem"}},
    ],
)
def test_settings_of_the_operators_listener_that_contradict_are_refused(section: dict[str, object]) -> None:
    """One transport; and TLS without names would let every certificate of the CA read."""
    with pytest.raises(ConfigError):
        ops(**section)
