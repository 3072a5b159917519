"""What operators read, as bytes: three pages, two methods, and nothing else."""

from __future__ import annotations

import re
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metrics_text import metrics_of

from authz.telemetry import Telemetry
from authz.web.ops import KeptRendering, health_pages, operators_pages, respond

HOST = "host: authz\r\n"


def asked(line: str, fields: str = HOST, *, ready: bool = True, metrics: bytes = b"m 1\n") -> tuple[int, bytes, bytes]:
    """Status, header fields and body of the response to a request."""
    head = f"{line}\r\n{fields}".removesuffix("\r\n").encode("latin-1")
    first, _, body = respond(operators_pages(lambda: ready, lambda: metrics), head).partition(b"\r\n\r\n")
    status, _, lines = first.partition(b"\r\n")
    return int(status.split()[1]), lines, body


@pytest.mark.parametrize(
    ("method", "path", "ready", "status"),
    [
        ("GET", "/healthz", False, 200),
        ("GET", "/readyz", True, 200),
        ("GET", "/readyz", False, 503),
        ("GET", "/metrics", True, 200),
        ("GET", "/metrics?x=/healthz", True, 200),
        ("HEAD", "/healthz", True, 200),
        ("HEAD", "/readyz", False, 503),
        ("GET", "/", True, 404),
        ("GET", "/metrics/", True, 404),
        ("GET", "/%6detrics", True, 404),
        ("GET", "//metrics", True, 404),
        ("GET", "/healthz/../metrics", True, 404),
        ("POST", "/", True, 404),
        ("OPTIONS", "*", True, 404),
        ("POST", "/healthz", True, 405),
        ("PUT", "/metrics", True, 405),
        ("get", "/metrics", True, 405),
        ("TRACE", "/metrics", True, 405),
        ("CONNECT", "/metrics", True, 405),
    ],
)
def test_ops_answer_as_orchestrators_expect(method: str, path: str, ready: bool, status: int) -> None:
    """Healthy is alive; ready is confirmed; a page has one spelling, and is read."""
    got, lines, _ = asked(f"{method} {path} HTTP/1.1", ready=ready)
    assert got == status
    assert (b"Allow: GET, HEAD" in lines) is (status == 405)
    assert b"Connection: close" in lines


def test_head_has_the_fields_of_get_and_no_body() -> None:
    """RFC 9110 section 9.3.2: its length is that of the body which GET would have sent."""
    for path in ("/healthz", "/readyz", "/metrics"):
        status, lines, body = asked(f"GET {path} HTTP/1.1")
        bare = asked(f"HEAD {path} HTTP/1.1")
        assert bare[0] == status
        assert f"Content-Length: {len(body)}".encode() in bare[1]
        assert {line.partition(b":")[0] for line in bare[1].split(b"\r\n")} == {
            line.partition(b":")[0] for line in lines.split(b"\r\n")
        }
        assert (body != b"", bare[2]) == (True, b"")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("GET /metrics HTTP/1.1", ""),
        ("GET /metrics HTTP/1.1", HOST + HOST),
        ("GET /metrics HTTP/2.0", HOST),
        ("GET /metrics", HOST),
        ("GET  /metrics HTTP/1.1", HOST),
        ("GET /metrics HTTP/1.1", "host : authz\r\n"),
        ("GET /metrics HTTP/1.1", HOST + " folded: x\r\n"),
        ("GET /metrics HTTP/1.1", HOST + "x: a\nb: c\r\n"),
        ("GET /metrics HTTP/1.1", HOST + "x: \x00\r\n"),
        ("GET /metrics HTTP/1.1", "x: a HTTP/1.0\r\n"),
        ("PRI * HTTP/2.0", ""),
        ("\x16\x03\x01\x02\x00\x01", ""),
        ("", ""),
    ],
)
def test_what_is_no_request_is_answered_400(line: str, fields: str) -> None:
    """Another protocol, folded or bare lines, no host or two (RFC 9112 section 3.2); no part of it is repeated."""
    assert asked(line, fields)[0] == 400


def test_client_of_http_1_0_needs_no_host() -> None:
    """As load balancers ask."""
    assert asked("GET /healthz HTTP/1.0", "")[0] == 200


def test_health_pages_name_no_metrics() -> None:
    """They are for those who may not read the metrics."""
    assert respond(health_pages(lambda: True), b"GET /metrics HTTP/1.1\r\nhost: x").startswith(b"HTTP/1.1 404 ")


def test_metrics_are_prometheus_text() -> None:
    """With the media type by which Prometheus recognizes it."""
    telemetry = Telemetry(BytesIO())
    status, lines, body = asked("GET /metrics HTTP/1.1", metrics=metrics_of(telemetry))
    assert status == 200
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in lines
    assert b"authz_directory_confirmed 0.0" in body


def test_rendering_is_shared_for_a_second() -> None:
    """Clients that ask without end cost one rendering a second."""
    now, rendered = [0.0], []

    def render() -> bytes:
        rendered.append(now[0])
        return f"{now[0]}".encode()

    kept = KeptRendering(render, lambda: now[0])
    assert {kept() for _ in range(100)} == {b"0.0"}
    now[0] = 0.99
    assert kept() == b"0.0"
    now[0] = 1.0
    assert kept() == b"1.0"
    assert rendered == [0.0, 1.0]


def test_rendering_that_failed_is_not_kept() -> None:
    """The next client has it tried again."""
    outcomes = [OSError("the folder is gone"), b"m 1\n"]

    def render() -> bytes:
        outcome = outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome  # type: ignore[return-value]

    kept = KeptRendering(render, lambda: 0.0)
    with pytest.raises(OSError, match="the folder is gone"):
        kept()
    assert kept() == b"m 1\n"


REQUESTS = (b"GET /metrics HTTP/1.1\r\nhost: x", b"HEAD /healthz HTTP/1.0", b"POST /readyz HTTP/1.1\r\nhost: x\r\na: b")
PIECES = st.sampled_from(
    [b"\r\n", b"\n", b" ", b":", b"\x00", b"\xff", b"GET", b"/metrics", b"host: y", b"HTTP/1.1", b"%", b"?"]
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Any bytes, or a request with pieces put in and taken out."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=80))
    head = draw(st.sampled_from(REQUESTS))
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(head))), draw(st.integers(0, 3))
        head = head[:at] + draw(PIECES | st.just(b"")) + head[at + length :]
    return head


@given(heads(), st.booleans())
def test_any_bytes_have_one_response_and_only_a_page_s_own_request_reads_it(head: bytes, local: bool) -> None:
    """No error, nothing of the request in the response, and the metrics for GET on their one path alone."""
    response = respond(operators_pages(lambda: True, lambda: b"the metrics"), head, local=local)
    first, blank, body = response.partition(b"\r\n\r\n")
    assert blank
    assert re.match(rb"HTTP/1\.1 (200|400|404|405|421) ", first)
    assert first.count(b"HTTP/1.1") == 1
    if body == b"the metrics":
        assert re.match(rb"GET /metrics(\?[^ ]*)? HTTP/1\.[01](\r\n|$)", head)
