"""Whether a service would start is known without starting it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from support.directory import new_store

from authz.app.config import Settings, parse_settings
from authz.errors import ConfigError, StoreError
from authz.supervision.binary_upgrade import VERSION, VERSION_VARIABLE
from authz.supervision.config_check import check
from authz.telemetry import Telemetry


def settings(folder: Path, **values: object) -> Settings:
    """Settings whose files are in `folder`."""
    return parse_settings({"database": f"sqlite:///{folder}/authz.db", **values}, origin="test")


def test_settings_that_can_be_used_pass_and_open_no_socket(tmp_path: Path) -> None:
    """A check makes no socket."""
    socket, made = tmp_path / "s.sock", settings(tmp_path, listener=[{"address": f"unix:{tmp_path}/s.sock"}])
    new_store(made.database).close()
    check(made, Telemetry(BytesIO()))
    assert not socket.exists()


def test_check_makes_no_directory(tmp_path: Path) -> None:
    """A name that was mistyped is an error, here as everywhere."""
    with pytest.raises(StoreError, match="there is no directory at"):
        check(settings(tmp_path), Telemetry(BytesIO()))
    assert not (tmp_path / "authz.db").exists()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"listener": [{"trusted_proxies": [{"anchors": "/no", "names": ["x"]}]}]}, "anchors in /no cannot be read"),
        ({"listener": [{"address": "0.0.0.0:1"}]}, "not loopback"),
        ({"crl": {"ca_file": "/no.pem"}}, "/no.pem"),
        ({"ops": {"address": "0.0.0.0:1"}}, "read the operators' pages"),
        ({"ops": {"health_probe_address": "0.0.0.0:1", "unsafe_plaintext": True}}, "not loopback"),
        ({"ops": {"tls": {"certificate": "/no", "key": "/no", "client_ca": "/no", "names": ["x"]}}}, "TLS files"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path: Path, values: dict[str, object], problem: str) -> None:
    """What only the file system or the address shows is found before any process is replaced."""
    with pytest.raises(ConfigError, match=problem):
        check(settings(tmp_path, **values), Telemetry(BytesIO()))


def test_version_that_cannot_take_over_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor whose state has another form is not taken over from."""
    monkeypatch.setenv(VERSION_VARIABLE, str(VERSION + 1))
    new_store(settings(tmp_path).database).close()
    with pytest.raises(ConfigError, match="cannot take over"):
        check(settings(tmp_path), Telemetry(BytesIO()))
