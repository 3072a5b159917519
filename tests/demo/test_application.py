"""The application behind the proxies of the demonstration."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from authz.demo.application import Application


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    """A kept connection to it."""
    application = Application()
    application.start()
    made = http.client.HTTPConnection("127.0.0.1", application.port, timeout=30)
    yield made
    made.close()
    application.stop()


def test_request_is_reported_and_counted(connection: http.client.HTTPConnection) -> None:
    """Its headers in lower case."""
    for number in (1, 2):
        connection.request("GET", "/", headers={"X-Authz-User": "alice"})
        told = json.load(connection.getresponse())
        assert ["x-authz-user", "alice"] in told["headers"]
        assert told["requests"] == number


@pytest.mark.parametrize("chunked", [False, True])
def test_request_behind_one_with_a_body_is_read(connection: http.client.HTTPConnection, *, chunked: bool) -> None:
    """With a length, or in chunks."""
    for number in (1, 2):
        connection.request(
            "POST", "/", body=iter([b"GET / HTTP/1.1\r\n\r\n"]) if chunked else b"GET / HTTP/1.1\r\n\r\n"
        )
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.load(answer)["requests"] == number


@pytest.mark.parametrize("framing", [("content-length", "-1", b""), ("transfer-encoding", "chunked", b"-1\r\n\r\n")])
def test_length_below_nothing_is_nothing(
    connection: http.client.HTTPConnection, framing: tuple[str, str, bytes]
) -> None:
    """It is not waited for until the client goes."""
    name, value, body = framing
    connection.putrequest("POST", "/")
    connection.putheader(name, value)
    connection.endheaders(body)
    assert connection.getresponse().status == 200
