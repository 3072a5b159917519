"""Heads of any bytes, in pieces: read as aiohttp does, read once more, or refused; never a line end in a value."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from support.raw_requests import mutated

from authz.web.request_reader import RequestReader


def read(reader: Any, head: bytes, size: int) -> list[Any]:
    """What a reader makes of a head in pieces, up to an error that it may raise."""
    messages: list[Any] = []
    for start in range(0, len(head), size):
        messages += [message for message, _ in reader.feed_data(head[start : start + size])[0]]
    return messages


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
async def test_head_of_any_bytes_is_read_alike_or_refused(seed: int) -> None:
    """Whatever aiohttp reads, this reads alike; what this reads beyond that could mean one thing only."""
    chance, loop = random.Random(seed), asyncio.get_running_loop()
    for _ in range(1_000):
        head, known = mutated(chance), []
        with contextlib.suppress(HttpProcessingError):
            known = read(HttpRequestParser(BaseProtocol(loop), loop, 2**16), head, len(head))
        try:
            messages = read(RequestReader(BaseProtocol(loop), loop), head, chance.choice([1, 5, 400]))
        except BadHttpMessage:
            continue
        if known:
            assert messages[0].raw_headers == known[0].raw_headers, head
        values = b"".join(value for message in messages for _, value in message.raw_headers)
        assert not {*b"\r\n\0"} & {*values}, head
