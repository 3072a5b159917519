"""The client's host, method and target, where a proxy asks with a request of its own and has them in headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.model import fold

if TYPE_CHECKING:
    from authz.model import ClientRequestHeaders

Headers = tuple[tuple[bytes, bytes], ...]


def read_client_request(
    headers: Headers, names: ClientRequestHeaders, origin: tuple[str, str]
) -> tuple[str, tuple[str, str]]:
    """The client's host, and its method and target: of `origin` where no header is named for them.

    `headers` have names in lower case. What did not arrive exactly once is empty, which no host is.
    """
    host, target = _only(headers, names.host or "host"), origin[1]
    if names.url is not None:
        host, target = _split(_only(headers, names.url))
    method = origin[0] if names.method is None else _only(headers, names.method)
    return host, (method, target if names.target is None else _only(headers, names.target))


def _only(headers: Headers, name: str) -> str:
    """The value of a header that arrived once, without an underscore twin, which servers treat as the same; else ""."""
    wanted, folded = fold(name)
    arrived = [header for header in headers if header[0].replace(b"-", b"_") == folded]
    return arrived[0][1].decode("latin-1") if len(arrived) == 1 and arrived[0][0] == wanted else ""


def _split(url: str) -> tuple[str, str]:
    """Host, with its port, and target of an http or https URL (RFC 9110 section 4.2), empty for any other text.

    The host ends at the first slash alone: a proxy puts the client's Host before the target, whatever is in either.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"http", "https"}:
        return "", ""
    host, slash, path = rest.partition("/")
    return host, slash + path
