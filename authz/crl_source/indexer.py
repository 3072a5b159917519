"""The process that indexes one CRL, and ends: `python -m authz.crl_source.indexer DER SOCKET`.

Reads the CRL from the descriptor DER and the keys that may have signed it from standard input (four octets
of length, then SubjectPublicKeyInfos in DER), and answers on SOCKET (SOCK_SEQPACKET) with one message:
`image` and a descriptor of sealed memory that holds the image (`authz.pki.crl_image`), or the reason of a
refusal, a NUL and its detail. Any other outcome is a crash, which the client takes for one.

The CRL is read and not mapped: a file that changes on the way would have entries that nobody signed.
"""

from __future__ import annotations

import os
import resource
import secrets
import socket
import sys
import threading
from typing import Final

from authz.crl_source.sealed import seal
from authz.errors import Refused
from authz.pki import der
from authz.pki.crl_image import make_image
from authz.pki.hashed_index import KEY_OCTETS

IMAGE: Final = b"image"

MAX_ANSWER: Final = 4_096
"""Octets of an answer; a longer detail is cut."""

MIB: Final = 1 << 20

BASE_MEMORY: Final = 512 * MIB
"""Address space of an interpreter with the libraries and a thread (130 MiB), and plenty."""

MEMORY_FACTOR: Final = 8
"""Address space, in lengths of the CRL: measured 1.7 with serial numbers of 16 octets."""

BASE_SECONDS: Final = 20
SECONDS_PER_MIB: Final = 1
"""CPU: measured 0.06 s for 1 MiB."""


def limit(octets: int) -> None:
    """Bound this process's memory and CPU by the length of the CRL."""
    memory = BASE_MEMORY + MEMORY_FACTOR * octets
    seconds = BASE_SECONDS + SECONDS_PER_MIB * octets // MIB
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_all(descriptor: int, octets: int) -> bytes:
    """The first octets of a regular file, whatever its offset."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return file.read(octets)


def read_keys(descriptor: int) -> list[bytes]:
    """The candidates on standard input, which stays open. Raises `EOFError` when it ends early."""
    data = _read_exactly(descriptor, int.from_bytes(_read_exactly(descriptor, 4), "big"))
    ends = [end for _, _, end in der.elements(data, 0, len(data))]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _read_exactly(descriptor: int, octets: int) -> bytes:
    found = b""
    while len(found) < octets:
        piece = os.read(descriptor, octets - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def _end_with(descriptor: int) -> None:
    """End this process when the one that started it does, or closes its end: nobody waits for the answer."""
    os.read(descriptor, 1)
    os._exit(1)


def answer(connection: socket.socket, data: bytes, keys: list[bytes]) -> None:
    """Make the image, or say why there is none."""
    try:
        descriptor = seal(make_image(data, keys, secrets.token_bytes(KEY_OCTETS)))
    except Refused as refusal:
        connection.send(f"{refusal.reason}\0{refusal.detail}".encode()[:MAX_ANSWER])
    else:
        socket.send_fds(connection, [IMAGE], [descriptor])


def main() -> None:
    """Index the CRL of the command line's descriptors."""
    source, connection = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    octets = os.fstat(source).st_size
    limit(octets)
    keys = read_keys(sys.stdin.fileno())
    threading.Thread(target=_end_with, args=[sys.stdin.fileno()], daemon=True).start()
    answer(connection, read_all(source, octets), keys)


if __name__ == "__main__":
    main()
