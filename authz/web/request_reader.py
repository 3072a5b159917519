"""Reads the requests of proxies: the head of each (RFC 9112 sections 2 to 5), and nothing behind it.

It stands in for aiohttp's parser, which refuses requests for what a client chooses: a method that is not in its list, a
Content-Encoding that it cannot decode, a second Content-Type. Here a head is refused only if it could mean two things.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import Final, NoReturn

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import RawRequestMessagePy
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

MAX_HEAD_BYTES: Final = 320 * 1024
"""Longest head: above our own limit of a header and above what Envoy was seen to send (145,601), so that we refuse it."""

MAX_FIELDS: Final = 256
"""Most header fields: above Envoy's default of 100 from a client, and what it adds."""

_END: Final = b"\r\n\r\n"
_TCHAR: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS: Final = bytes(code for code in (*range(32), 127) if code != ord("\t"))
_REQUEST_LINE: Final = re.compile(rb"([%b]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])" % re.escape(_TCHAR))
_FRAMING: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})
_NO_FIELDS: Final[CIMultiDictProxy[str]] = CIMultiDictProxy(CIMultiDict())
_NO_URL: Final = URL("/")

Request = tuple[RawRequestMessagePy, StreamReader]


class _Method(str):
    """A method with lower-case letters, which aiohttp would take for HEAD or CONNECT (RFC 9110 section 9.1)."""

    __slots__ = ()

    def upper(self) -> str:
        """The method as it is."""
        return self


class RequestReader:
    """The reader of one connection, with the interface of aiohttp's parser.

    The connection is closed after a request that announces a body: a proxy may pass on the client's Content-Length
    without the body, and the next request would then be read as one.
    """

    def __init__(self, protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> None:
        self._protocol = protocol
        self._loop = loop
        self._partial = bytearray()
        self._body: StreamReader | None = None
        self._left: float = 0

    def message_consumed(self) -> None:
        """Nothing is counted."""

    def feed_data(self, data: bytes) -> tuple[list[Request], bool, bytes]:
        """The requests that `data` completes. Raises `BadHttpMessage`, whose message quotes nothing of them."""
        if self._body is not None:
            self._skip(len(data))
            return [], False, b""
        if self._partial:
            searched = len(self._partial) - len(_END) + 1
            self._partial += data
            if self._partial.find(_END, max(searched, 0)) < 0:
                data = b""
            else:
                data, self._partial = bytes(self._partial), bytearray()
        start, requests = 0, []
        while self._body is None and (end := data.find(_END, start)) >= 0:
            head, start = data[start:end], end + len(_END)
            requests.append(self._request(head, len(data) - start))
        if self._body is None:
            self._partial += data[start:]
            if len(self._partial) > MAX_HEAD_BYTES:
                self._refuse(f"the head is longer than {MAX_HEAD_BYTES} bytes")
        return requests, False, b""

    def _request(self, head: bytes, behind: int) -> Request:
        """One request; `behind` is the number of bytes that came with its head."""
        lines = head.split(b"\r\n")
        first = _REQUEST_LINE.fullmatch(lines[0])
        if first is None:
            self._refuse("the first line is not a request line of HTTP/1.0 or HTTP/1.1")
        if len(head) > MAX_HEAD_BYTES or len(lines) > MAX_FIELDS + 1:
            self._refuse(f"the head is longer than {MAX_HEAD_BYTES} bytes, or has more than {MAX_FIELDS} fields")
        if len(head.translate(None, _CONTROLS)) != len(head) - 2 * (len(lines) - 1):
            self._refuse("the head has a control character")
        fields, framing = [], {}
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not name or name.translate(None, _TCHAR):
                self._refuse("a header field is not a name, a colon and a value")
            name, value = name.lower(), value.strip(b" \t")
            fields.append((name, value))
            if name in _FRAMING:
                framing[name] = value if name not in framing else framing[name] + b", " + value
        method, target, minor = first[1].decode("ascii"), first[2].decode("utf-8", "surrogateescape"), first[3]
        version = HttpVersion11 if minor == b"1" else HttpVersion10
        body = self._begin_body(framing, behind)
        close = body or not _is_kept(framing.get(b"connection", b""), minor)
        method = method if method.isupper() else _Method(method)
        message = RawRequestMessagePy(
            method, target, version, _NO_FIELDS, tuple(fields), close, None, False, False, _NO_URL
        )
        return message, self._body or EMPTY_PAYLOAD

    def _begin_body(self, framing: dict[bytes, bytes], behind: int) -> bool:
        """Whether a body is announced; what of it is still to come is read, and dropped."""
        length = framing.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in framing:
            return False
        exact = length.isdigit() and len(length) < 20 and b"transfer-encoding" not in framing
        self._left = int(length) if exact else math.inf
        self._body = StreamReader(self._protocol, 2**16, loop=self._loop)
        self._skip(behind)
        return True

    def _skip(self, count: int) -> None:
        self._left -= count
        if self._left <= 0 and self._body is not None:
            self._body.feed_eof()

    def _refuse(self, why: str) -> NoReturn:
        # What comes behind it is read as its body, so that it cannot become a request.
        self._body = EMPTY_PAYLOAD
        raise BadHttpMessage(why)


def _is_kept(connection: bytes, minor: bytes) -> bool:
    """Whether the connection is kept after the answer (RFC 9112 section 9.3)."""
    if not connection:
        return minor == b"1"
    options = {option.strip() for option in connection.lower().split(b",")}
    return b"close" not in options and (minor == b"1" or b"keep-alive" in options)
