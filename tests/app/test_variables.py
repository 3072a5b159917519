"""Which variables of the environment are to name settings."""

from __future__ import annotations

import pytest

from authz.app.variables import database_of_environment, passed_over, variables


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours is set."""
    for name in variables():
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        ("AUTHZ_SERVICE_HOST", True),
        ("AUTHZ_SERVICE_PORT_HTTPS", True),
        ("AUTHZ_PORT", True),
        ("AUTHZ_PORT_9901_TCP_ADDR", True),
        ("AUTHZ_METRICS_PORT_9901_UDP", True),
        ("AUTHZ_PORT_9901", False),
        ("AUTHZ_PORTS", False),
        ("AUTHZ_OPS__PORT", False),
        ("AUTHZ_SERVICE", False),
        ("AUTHZ_OPS_ADDRESS", False),
        ("authz_port", False),
        ("AUTHZ_DATABASE", False),
    ],
)
def test_only_what_kubernetes_writes_is_passed_over(name: str, passed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its exact form: a setting that was mistyped must not hide behind it."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:9901")
    assert (passed_over(), variables()) == (([name], []) if passed else ([], [name]))


def test_database_is_known_without_the_settings_where_nothing_else_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, by its variable in any case, and not beside another variable."""
    assert database_of_environment() == "sqlite:///authz.db"
    monkeypatch.setenv("Authz_Database", "sqlite:///other.db")
    monkeypatch.setenv("AUTHZ_PORT", "tcp://10.0.0.1:9901")
    assert database_of_environment() == "sqlite:///other.db"
    monkeypatch.setenv("AUTHZ_OPS_ADDRESS", "")
    assert database_of_environment() is None
