"""Reads the requests of proxies by aiohttp's parser, whose opinion of a client's method and body decides nothing.

That parser refuses a method that is not in its list, a second Content-Type, a Content-Length that is no number. Such a
head is read once more here (RFC 9112 sections 2 to 5), and refused only if it could mean two things.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.http_parser import RawRequestMessagePy
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestPayloadError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

MAX_FIELD_BYTES: Final = 256 * 1024
"""Longest header field, and longest head that is read again: above our own limit and what Envoy was seen to send."""

MAX_HEADERS: Final = 256
"""Most header fields: above Envoy's default of 100 from a client, and what it adds."""

BUFFER_BYTES: Final = 64 * 1024
"""How much of a body waits to be dropped."""

_END: Final = b"\r\n\r\n"
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(%b) ([^\x00-\x20\x7f]+) HTTP/1\.[01]" % _TOKEN)
_BEGUN: Final = re.compile(rb"%b( [^\x00-\x20\x7f]*( [!-~]*\r?)?)?" % _TOKEN)
"""What a request line may begin with, so that another protocol is refused at once."""
_FIELD: Final = re.compile(rb"(%b):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)" % _TOKEN)
_UNREADABLE: Final = f"a head that is longer than {MAX_FIELD_BYTES} bytes, or bytes behind a request with a body"
_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})

Messages = Sequence[tuple[Any, StreamReader]]

_NONE: Final[tuple[Messages, bool, bytes]] = (), False, b""


class _Method(str):
    """A method with lower-case letters, which aiohttp would take for HEAD or CONNECT (RFC 9110 section 9.1)."""

    __slots__ = ()

    def upper(self) -> str:
        """The method as it is."""
        return self


class RequestReader:
    """The reader of one connection, with the interface of aiohttp's parser.

    The connection is closed after a request that announces a body: a proxy may pass on the client's Content-Length
    without the body, and would lose the next request in it. `_head` is what was read of a head that began where a read
    began; after a body, or several requests in one read, it stays None, and no head is read again.

    `answered` is called with each request that a read ended with, alone and without a body: what it returns True for is
    done, and not returned.
    """

    def __init__(
        self,
        protocol: BaseProtocol,
        loop: asyncio.AbstractEventLoop,
        answered: Callable[[RawRequestMessage], bool] = lambda _: False,
    ) -> None:
        self._protocol = protocol
        self._answered = answered
        self._loop = loop
        self._head: bytes | None = b""
        self._parser = HttpRequestParser(
            protocol,
            loop,
            BUFFER_BYTES,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            payload_exception=RequestPayloadError,
            # Otherwise a Content-Encoding that it cannot decode is an error.
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )
        self.message_consumed = self._parser.message_consumed
        self.pause_reading = self._parser.pause_reading

    def feed_data(self, data: bytes) -> tuple[Messages, bool, bytes]:
        """The requests that `data` completes. Raises `BadHttpMessage`, whose message quotes nothing of them."""
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            return self._read_again(data), False, b""
        whole = len(messages) == 1 and messages[0][1] is EMPTY_PAYLOAD and not upgraded and data.endswith(_END)
        if whole and self._head is not None:
            self._head = b""
            if self._answered(messages[0][0]):
                self.message_consumed()
                return _NONE
            return messages, False, b""
        return self._incomplete(messages, data, upgraded=upgraded), False, b""

    def _incomplete(self, messages: Messages, data: bytes, *, upgraded: bool) -> Messages:
        """The requests of a read that ends within a head, or has a body; nothing is ever upgraded."""
        if not messages:
            if self._head is not None:
                self._head = self._head + data if len(self._head) <= MAX_FIELD_BYTES else None
            return messages
        self._head = None
        *before, (last, payload) = messages
        if payload is EMPTY_PAYLOAD and not upgraded:
            return messages
        return [*before, (last._replace(should_close=True), payload)]

    def _read_again(self, data: bytes) -> Messages:
        if self._head is None:
            raise BadHttpMessage(_UNREADABLE)
        self._head += data
        if len(self._head) > MAX_FIELD_BYTES:
            self._head = None
            raise BadHttpMessage(_UNREADABLE)
        head, end, _ = self._head.partition(_END)
        if not end and _BEGUN.fullmatch(head.partition(b"\r\n")[0]):
            return []
        self._head = None
        message = read_head(head)
        body = any(name in _BODY and value != b"0" for name, value in message.raw_headers)
        return [(message, StreamReader(self._protocol, BUFFER_BYTES, loop=self._loop) if body else EMPTY_PAYLOAD)]


def read_head(head: bytes) -> RawRequestMessagePy:
    """A request, after which the connection is closed. Raises `BadHttpMessage`, which quotes nothing of it."""
    first, *lines = head.split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    if request_line is None:
        raise BadHttpMessage("the first line is not a request line of HTTP/1.0 or HTTP/1.1")
    fields = [field.groups() for line in lines if (field := _FIELD.fullmatch(line))]
    if len(fields) != len(lines):
        raise BadHttpMessage("a line is not a header field: a name, a colon and a value without control characters")
    if len(fields) > MAX_HEADERS:
        raise BadHttpMessage(f"more than {MAX_HEADERS} header fields")
    method, target = request_line[1].decode("ascii"), request_line[2].decode("utf-8", "surrogateescape")
    headers = tuple((name, value.rstrip(b" \t")) for name, value in fields)
    none: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
    exact = method if method.isupper() else _Method(method)
    return RawRequestMessagePy(exact, target, HttpVersion11, none, headers, True, None, False, False, URL("/"))
