"""`authz doctor prepare` and `probe`, as an operator types them."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path

import pytest
from support.command_world import authz, prepare_canary

from authz.admin.canary import CANARY

pytestmark = pytest.mark.usefixtures("own_folder")


def test_doctor_names_a_left_over_canary() -> None:
    """Beside what else is not well."""
    prepare_canary()
    done = authz("doctor", "--json")
    assert any(CANARY in row["what"] for row in json.loads(done.out))


@pytest.mark.parametrize(
    "words",
    [
        ("http://a.example/",),
        ("https:///",),
        ("https://a.example/?q=1",),
        ("https://a.example/a b",),
        ("https://a.example/\r\nx: y",),
        ('https://a.example/"',),
        ("https://a.example/", "--token", "spaced.token"),
        ("https://u@a.example/",),
        ("https://a.example:x/",),
        ("https://a.example/", "--canary", "nowhere"),
        ("https://a.example/", "--cert", "a.pem"),
        ("https://a.example/", "--token", "nowhere"),
        ("https://a.example/", "--connect", "127.0.0.1:no"),
        ("https://a.example/", "--connect", "127.0.0.1:1"),
        ("https://a.example/", "--service", "nonsense", "--connect", "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_tried_exits_2(words: tuple[str, ...]) -> None:
    """And nothing is printed on stdout, which a program might take for an answer."""
    Path("spaced.token").write_text("a\nb")
    done = authz("doctor", "probe", *words)
    assert (done.code, done.out) == (2, "")


def test_port_without_tls_is_a_way_round(canary_port: int) -> None:
    """Not something that could not be reached."""
    done = authz("doctor", "probe", f"https://127.0.0.1:{canary_port}/", "--echo", str(canary_port), "--json")
    assert done.code == 1
    assert [each["probe"] for each in json.loads(done.out)["probes"]] == ["no TLS"]


@pytest.fixture
def canary_port() -> int:
    """A free port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        return int(held.getsockname()[1])
