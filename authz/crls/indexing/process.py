"""The process that indexes one CRL, and ends: `python -m authz.crls.indexing.process DER KEYS SOCKET`.

Reads the CRL from the descriptor DER and the keys that may have signed it from the descriptor KEYS
(SubjectPublicKeyInfos in DER, one behind the other), and answers on SOCKET (SOCK_SEQPACKET) with one
message: `image` and a descriptor of sealed memory that holds the image (`authz.pki.crl.image`), or the
reason of a refusal, a NUL and its detail. Any other outcome is a crash, which the client takes for one.
Nothing comes from standard input: when it ends, whoever waits for the answer has gone.

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

from authz.crls.indexing.sealed_memory import seal
from authz.errors import Refused
from authz.pki.crl.hashed_index import KEY_BYTES
from authz.pki.crl.image import make_image
from authz.pki.x509 import der

IMAGE: Final = b"image"

MAX_ANSWER: Final = 4_096
"""Octets of an answer; a longer detail is cut."""

MIB: Final = 1 << 20

BASE_MEMORY: Final = 384 * MIB
"""Address space of an interpreter with the libraries and a thread (130 MiB), of a delta's removals (90), and plenty."""

MEMORY_FACTOR: Final = 4
"""Address space, in lengths of the CRL: measured 1.7 with serial numbers of 16 octets, 2.1 with the worst entries."""

BASE_SECONDS: Final = 10
SECONDS_PER_MIB: Final = 1
"""CPU: measured 0.06 s for 1 MiB."""


def limit(octets: int) -> None:
    """Bound this process's memory and CPU by the length of the CRL; a bound that is narrower already stays."""
    wanted = {
        resource.RLIMIT_AS: BASE_MEMORY + MEMORY_FACTOR * octets,
        resource.RLIMIT_CPU: BASE_SECONDS + SECONDS_PER_MIB * octets // MIB,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        narrow = [one for one in resource.getrlimit(kind) if one != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min([value, *narrow]),) * 2)


def read_all(descriptor: int, octets: int) -> bytes:
    """The first octets of a regular file, whatever its offset."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return file.read(octets)


def split_keys(data: bytes) -> list[bytes]:
    """The candidates one by one. Raises `ValueError`."""
    ends = [end for _, _, end in der.elements(data, 0, len(data))]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _end_with(descriptor: int) -> None:
    """End this process when the one that started it does, or closes its end: nobody waits for the answer."""
    os.read(descriptor, 1)
    os._exit(1)


def answer(connection: socket.socket, data: bytes, keys: list[bytes]) -> None:
    """Make the image, or say why there is none."""
    try:
        descriptor = seal(make_image(data, keys, secrets.token_bytes(KEY_BYTES)))
    except Refused as refusal:
        connection.send(f"{refusal.reason}\0{refusal.detail}".encode()[:MAX_ANSWER])
    else:
        socket.send_fds(connection, [IMAGE], [descriptor])


def main() -> None:
    """Index the CRL of the command line's descriptors."""
    source, known, connection = map(int, sys.argv[1:])
    octets = os.fstat(source).st_size
    limit(octets)
    threading.Thread(target=_end_with, args=[sys.stdin.fileno()], daemon=True).start()
    keys = split_keys(read_all(known, os.fstat(known).st_size))
    answer(socket.socket(fileno=connection), read_all(source, octets), keys)


if __name__ == "__main__":
    main()
