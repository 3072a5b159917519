"""What a request and what is read from it decide themselves: names of headers, the text of a binding."""

from __future__ import annotations

from authz.model import Binding, CheckRequest, Registration, fold
from authz.reasons import Reason


def test_binding_says_bound_or_the_reason() -> None:
    """What headers and logs print."""
    assert str(Binding(registration=Registration(1, 1, 1, b""))) == "bound"
    assert str(Binding(refusal=Reason.CERTIFICATE_REQUIRED)) == "certificate_required"


def test_request_values_are_all_of_one_name_in_order() -> None:
    """Repeated headers stay apart."""
    request = CheckRequest("", "", ((b"a", b"1"), (b"b", b"2"), (b"a", b"3")))
    assert request.values("a") == [b"1", b"3"]


def test_request_knows_its_headers_as_servers_take_them_for_one() -> None:
    """Hyphen or underscore, in order; each value under its own name only."""
    headers = ((b"x-a", b"1"), (b"x_a", b"2"), (b"xa", b"3"), (b"x-a", b"4"))
    request = CheckRequest("", "", headers)
    assert request.headers_by_folded_name == {b"x_a": [headers[0], headers[1], headers[3]], b"xa": [headers[2]]}
    assert request.values("x-a") == [b"1", b"4"]
    assert request.values("x_a") == [b"2"]
    assert request.values("y") == []


def test_name_is_folded_as_servers_do() -> None:
    """Its octets, and those with underscores."""
    assert fold("x-a-b") == (b"x-a-b", b"x_a_b")
