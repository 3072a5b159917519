"""Reading CRLs of any size while the event loop goes on; the processes are real ones."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.big_crl import big_crl, serials
from support.certificates import NOW, Authority, new_key
from support.revocation_world import idp

from authz.crls.indexing import client as indexing
from authz.crls.indexing.client import MAX_BYTES, SMALL_CRL, crl_of, index_crl, make_sealed_image
from authz.crls.indexing.process import BASE_MEMORY, MEMORY_FACTOR
from authz.crls.indexing.sealed_memory import SEALS, seal
from authz.errors import IndexingError, Refused
from authz.pki.crl.crl import Crl
from authz.pki.crl.image import HashedCrl, make_image
from authz.pki.crl.index import RevokedEntry
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

CA = Authority.root("CA")
ISSUER = Name(CA.certificate.subject)
SERIALS = serials(3_000)


def spki_of(authority: Authority) -> bytes:
    """The SubjectPublicKeyInfo of its key."""
    return authority.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


KEYS = [spki_of(CA)]
LARGE = big_crl(CA, SERIALS, NOW - timedelta(days=1), NOW + timedelta(days=6))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file with a CRL that is too large to be read at once."""
    assert len(LARGE) > SMALL_CRL
    return written(tmp_path, LARGE)


def descriptors() -> int:
    """How many this process has open, once everything is let go that can be."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number is enough


def written(folder: Path, data: bytes) -> Path:
    """A file with these octets."""
    path = folder / "issuing.crl"
    path.write_bytes(data)
    return path


async def test_small_crl_is_read_at_once(tmp_path: Path) -> None:
    """It keeps its reason codes and its DER."""
    data = CA.crl(5, reason=x509.ReasonFlags.superseded)
    crl = await index_crl(written(tmp_path, data), KEYS)
    assert (type(crl), crl.der, crl.index.find(5, ISSUER)) == (Crl, data, RevokedEntry(4))


async def test_large_crl_comes_from_a_process(large: Path) -> None:
    """It says what the file says, and its signature verifies without the file."""
    crl, whole = await index_crl(large, KEYS), Crl(LARGE)
    large.unlink()
    assert isinstance(crl, HashedCrl)
    assert (crl.sha256, crl.issuer, crl.number, crl.next_update) == (
        whole.sha256, whole.issuer, whole.number, whole.next_update,
    )  # fmt: skip
    assert all(crl.index.find(one, ISSUER) == RevokedEntry() for one in SERIALS)
    assert not any(crl.index.find(one + (1 << 25), ISSUER) for one in SERIALS)
    verify_signature(CA.certificate.public_key(), crl.signed)


async def test_file_may_be_given_open(large: Path) -> None:
    """It stays open, and where it stands does not matter."""
    with large.open("rb") as file:
        file.seek(7)
        assert len((await index_crl(file.fileno(), KEYS)).index) == len(SERIALS)
        file.seek(0)
        assert file.read() == LARGE


async def test_file_that_changes_later_changes_nothing(large: Path) -> None:
    """Neither its truncation nor other octets reach an index."""
    crl = await index_crl(large, KEYS)
    large.write_bytes(b"")
    large.write_bytes(LARGE[::-1])
    assert crl.index.find(SERIALS[0], ISSUER) == RevokedEntry()


async def test_image_serves_any_number_of_users(large: Path) -> None:
    """It is made once; each maps it."""
    image = await make_sealed_image(large, KEYS)
    crls = [crl_of(image) for _ in range(3)]
    assert not os.get_inheritable(image)
    os.close(image)
    assert {one.sha256 for one in crls} == {Crl(LARGE).sha256}
    assert all(one.index.find(SERIALS[-1], ISSUER) for one in crls)


async def test_image_of_a_huge_crl_costs_at_most_twelve_octets_an_entry(tmp_path: Path) -> None:
    """All that stays of it in memory, however many use it."""
    listed = serials(100_000)
    path = written(tmp_path, big_crl(CA, listed, NOW - timedelta(days=1), NOW + timedelta(days=6)))
    image = await make_sealed_image(path, KEYS)
    assert os.fstat(image).st_blocks * 512 <= 12 * len(listed)
    index = crl_of(image).index
    os.close(image)
    assert len(index) == len(listed)
    assert all(index.find(one, ISSUER) for one in listed[::10])


async def test_many_keys_are_tried_in_the_process(tmp_path: Path) -> None:
    """They take time too."""
    keys = [spki_of(Authority.root()) for _ in range(indexing.SMALL_KEYS)]
    assert isinstance(await index_crl(written(tmp_path, CA.crl(5)), [*keys, *KEYS]), HashedCrl)


async def test_large_indirect_crl_is_indexed(tmp_path: Path) -> None:
    """Whatever its extensions; this one has too many keys to be read at once."""
    data = CA.crl(5, extensions=idp(indirect=True))
    crl = await index_crl(written(tmp_path, data), KEYS * 9)
    assert (crl.indirect, crl.scope, crl.index.find(5, ISSUER)) == (True, Crl(data).scope, RevokedEntry())


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(LARGE[:-1], Reason.CRL_MALFORMED, id="large, cut short"),
        pytest.param(LARGE[: len(LARGE) // 2], Reason.CRL_MALFORMED, id="half of it"),
        pytest.param(LARGE + b"\0", Reason.CRL_MALFORMED, id="something behind it"),
        pytest.param(LARGE.replace(b"\x02\x10", b"\x04\x10", 1), Reason.CRL_MALFORMED, id="an entry that is none"),
        pytest.param(LARGE.replace(b"2606", b"2607"), Reason.SIGNATURE_INVALID, id="another date"),
        pytest.param(bytes(SMALL_CRL + 1), Reason.CRL_MALFORMED, id="large and nothing"),
        pytest.param(b"", Reason.CRL_MALFORMED, id="empty"),
        pytest.param(b"<html>", Reason.CRL_MALFORMED, id="a page"),
        pytest.param(Authority.root("CA").crl(5), Reason.SIGNATURE_INVALID, id="another's"),
    ],
)
async def test_crl_that_cannot_be_used_is_refused(tmp_path: Path, data: bytes, expected: Reason, count: int) -> None:
    """For the same reason, at once or by a process."""
    with pytest.raises(Refused) as caught:
        await index_crl(written(tmp_path, data), KEYS * count)
    assert caught.value.reason is expected


async def test_crl_signed_with_a_weak_algorithm_is_refused(tmp_path: Path) -> None:
    """Its signature is not verified at all."""
    ca = Authority.root("CA", key=new_key("rsa2048"))
    data = ca.crl().replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))
    for count in (1, 9):
        with pytest.raises(Refused) as caught:
            await index_crl(written(tmp_path, data), [spki_of(ca)] * count)
        assert caught.value.reason is Reason.ALGORITHM_NOT_ALLOWED


async def test_crl_without_a_key_that_may_have_signed_it_is_refused(large: Path, tmp_path: Path) -> None:
    """An empty set of keys lets nothing in."""
    (tmp_path / "small.crl").write_bytes(CA.crl())
    for path in (large, tmp_path / "small.crl"):
        with pytest.raises(Refused) as caught:
            await index_crl(path, [])
        assert caught.value.reason is Reason.SIGNATURE_INVALID


async def test_file_larger_than_any_crl_is_refused(tmp_path: Path) -> None:
    """Before a process is started."""
    path = written(tmp_path, b"")
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(Refused) as caught:
        await index_crl(path, KEYS)
    assert caught.value.reason is Reason.CRL_MALFORMED


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A named pipe, without a writer, keeps nothing waiting."""
    os.mkfifo(tmp_path / "pipe")
    for one in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Refused) as caught:
            await index_crl(one, KEYS)
        assert caught.value.reason is Reason.CRL_MALFORMED
    with pytest.raises(FileNotFoundError):
        await index_crl(tmp_path / "nothing", KEYS)


ANSWER = "import os, socket, sys\nconnection = socket.socket(fileno=int(sys.argv[3]))\n"


# Bounded, in case nobody ends it.
ENDLESS = "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (60, 60))\nwhile True: pass"


def process(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """From now on this code runs instead of the indexer."""
    monkeypatch.setattr(indexing, "COMMAND", (sys.executable, "-c", ANSWER + code))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("os.kill(os.getpid(), 9)", "ended with -9", id="killed"),
        pytest.param("sys.exit(3)", "ended with 3", id="ended"),
        pytest.param("raise MemoryError('of what')", "ended with 1: MemoryError: of what", id="crashed"),
        pytest.param("connection.send(b'image')", "gave no answer", id="no descriptor"),
        pytest.param("connection.send(b'images')", "gave no answer", id="something else"),
        pytest.param("connection.send(b'certificate_revoked\\0')", "gave no answer", id="a reason of something else"),
        pytest.param("connection.send(b'crl_malformed')", "gave no answer", id="a reason without an end"),
        pytest.param(
            "socket.send_fds(connection, [b'crl_malformed\\0'], [1])", "gave no answer", id="a reason and a descriptor"
        ),
        pytest.param("socket.send_fds(connection, [b'x'], [1])", "gave no answer", id="a descriptor of nothing"),
        pytest.param("socket.send_fds(connection, [b'image'], [0])", "not sealed", id="a pipe"),
        pytest.param("socket.send_fds(connection, [b'image'], [int(sys.argv[1])])", "not sealed", id="the file"),
        pytest.param(
            "d = os.memfd_create('x', 2); os.write(d, b'x' * 500); socket.send_fds(connection, [b'image'], [d])",
            "not sealed",
            id="memory that is not sealed",
        ),
        pytest.param(
            f"import fcntl; d = os.memfd_create('x', 2); os.write(d, b'x' * 500); fcntl.fcntl(d, 1033, {SEALS});"
            "socket.send_fds(connection, [b'image'], [d])",
            "is invalid",
            id="sealed nonsense",
        ),
    ],
)
async def test_process_that_gives_no_image_is_an_error(
    large: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: str
) -> None:
    """Never an index, and the operator learns what became of it."""
    process(monkeypatch, code)
    left = []
    for _ in range(2):
        with pytest.raises(IndexingError, match=expected):
            await index_crl(large, KEYS)
        left.append(descriptors())
    assert left[0] == left[1]


async def test_process_that_cannot_be_started_is_an_error(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the CRL's fault, and not the file's."""
    monkeypatch.setattr(indexing, "COMMAND", ("/nothing/here",))
    with pytest.raises(IndexingError, match="cannot be started"):
        await index_crl(large, KEYS)


def test_process_works_under_the_event_loop_that_serves(large: Path) -> None:
    """Which is uvloop's."""
    assert len(uvloop.run(index_crl(large, KEYS)).index) == len(SERIALS)


async def test_process_that_takes_too_long_is_given_up(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for any longer."""
    process(monkeypatch, "sys.stdin.read()")
    with pytest.raises(IndexingError, match=r"more than 0\.2 s"):
        await index_crl(large, KEYS, seconds=0.2)


async def test_process_ends_when_its_answer_is_not_wanted(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is cancelled leaves none behind."""
    told = tmp_path / "pid"
    process(monkeypatch, f"open({str(told)!r}, 'w').write(str(os.getpid()))\n" + ENDLESS)
    task = asyncio.create_task(index_crl(large, KEYS))
    while not told.exists() or not told.read_text():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{told.read_text()}").exists()


async def test_process_bounds_itself_by_the_file(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it reads anything of it."""
    bounded = (
        "from authz.crls.indexing import process\n"
        "import resource\n"
        "def answer(connection, data, keys):\n"
        "    connection.send(f'crl_malformed\\0{resource.getrlimit(resource.RLIMIT_AS)[0]}'.encode())\n"
        "process.answer = answer\n"
        "process.main()\n"
    )
    monkeypatch.setattr(indexing, "COMMAND", (sys.executable, "-P", "-c", bounded))
    with pytest.raises(Refused) as caught:
        await index_crl(large, KEYS)
    assert int(caught.value.detail) == BASE_MEMORY + MEMORY_FACTOR * len(LARGE)


async def test_process_gets_nothing_of_our_secrets(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads what strangers wrote."""
    monkeypatch.setenv("AUTHZ_SECRET", "sesame")
    process(monkeypatch, "sys.exit(','.join(one for one in os.environ if one.startswith('AUTHZ')) or 'nothing')")
    with pytest.raises(IndexingError, match="ended with 1: nothing"):
        await index_crl(large, KEYS)


def test_image_of_another_version_is_an_error() -> None:
    """Sealed as it may be."""
    pieces = make_image(CA.crl(5), KEYS, bytes(32))
    image = seal([b"AUTHZCR0", *pieces[1:]])
    with pytest.raises(IndexingError, match="is invalid"):
        crl_of(image)
    os.close(image)
