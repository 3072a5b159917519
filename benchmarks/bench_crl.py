"""What a CRL of a million entries costs: memory, look-ups, indexing, and how long an event loop stands still for it.

Look-ups take turns with the library's own, and are counted in CPU time. The event loop is uvloop's, has work to do,
and looks every millisecond how late it is: with the machine idle else, with processes that do nothing but compute on
every core but one, which is left to the indexing, and on every core. Of a stall, what the loop's thread waited for a
core is the machine's doing, whoever else uses it, and told apart; the rest is ours. At the end the figures stand beside
their bounds: on a machine that others use as well, judge them by the lines without indexing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.big_crl import big_crl, serials
from support.certificates import NOW, Authority

from authz.crls.indexing.client import crl_of, index_crl, make_sealed_image
from authz.pki.crl.crl import Crl

ENTRIES = int(os.environ.get("ENTRIES", "1000000"))
LOOKUPS = 20_000
ROUNDS = 5
STALL_ROUNDS = 3
PEAK = "--peak"
WORK = 0.0003
"""Seconds of work that the loop has each millisecond: it serves, a quarter of a core."""

BOUNDS = {"octets an entry": 12.0, "us a look-up": 3.0, "ms stall of our own": 20.0}
"""What a CRL may cost, at most."""

USERS = 3
"""Processes that use one image at the same time."""

Work = Callable[[], Coroutine[None, None, None]]

CA = Authority.root("Issuing CA")
KEYS = [CA.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]


def microseconds(action: Callable[[int], object], asked: Iterable[int]) -> float:
    """The mean CPU time of one call."""
    asked = list(asked)
    started = time.thread_time()
    for one in asked:
        action(one)
    return (time.thread_time() - started) / len(asked) * 1e6


def lookups(crl: Crl, data: bytes, listed: list[int]) -> float:
    """Hits and misses in serial numbers nobody asked for before, and the library's own look-up, taking turns.

    Microseconds of the slower of ours.
    """
    theirs = x509.load_der_x509_crl(data).get_revoked_certificate_by_serial_number
    times: dict[str, list[float]] = {"hit": [], "miss": [], "library, hit": []}
    for _ in range(ROUNDS):
        hits = random.sample(listed, LOOKUPS)
        times["hit"].append(microseconds(lambda one: crl.index.find(one, crl.issuer), hits))
        times["miss"].append(microseconds(lambda one: crl.index.find(one ^ 1 << 25, crl.issuer), hits))
        times["library, hit"].append(microseconds(theirs, hits[:10]))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"look-up, {name:22} {median:10.2f} us {median / medians['hit']:10.2f} x")
    return max(medians["hit"], medians["miss"])


def _private(pid: int) -> int:
    """Octets that a process has for itself (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _shared() -> int:
    """Octets of all shared memory of this machine, memfds and all (proc(5), meminfo)."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Shmem:"))


def _user(image: int, pipe: multiprocessing.connection.Connection) -> None:
    # A fork has to copy what it touches of the other's objects: it makes its own.
    listed = serials(ENTRIES)[::10]
    before = _private(os.getpid())
    crl = crl_of(image)
    assert all(crl.index.find(one, crl.issuer) for one in listed)
    pipe.send(_private(os.getpid()) - before)
    pipe.recv()


def memory(path: Path, listed: list[int]) -> float:
    """The image by what the machine has less of, with several users who have looked up a tenth of the entries.

    Octets an entry.
    """
    before = _shared()
    image = uvloop.run(make_sealed_image(path, KEYS))
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(USERS)]
    for _, theirs in pipes:
        context.Process(target=_user, args=(image, theirs), daemon=True).start()
    own = [ours.recv() for ours, _ in pipes]
    held = os.fstat(image).st_blocks * 512
    print(f"memory of the image           {held / len(listed):10.2f} octets an entry, once for all")
    shared = (_shared() - before) / len(listed)
    print(f"shared memory of the machine  {shared:10.2f} octets an entry, {USERS} processes")
    print(f"memory of each process        {max(own) / 1024:10.0f} KB, whatever the number of entries")
    for ours, _ in pipes:
        ours.send("done")
    os.close(image)
    return held / len(listed)


def _busy() -> None:
    while True:
        pass


def _waited() -> float:
    """Seconds that this thread was ready and had no core (the kernel's documentation of sched-stats, second field)."""
    return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


class Stall(NamedTuple):
    """Milliseconds by which a loop was late at worst, of those what was our own, and the seconds that the work took."""

    worst: float
    own: float
    taken: float


async def worst_stall(work: Work) -> Stall:
    """How late the loop was while `work` went on."""
    worst = own = 0.0
    done = False

    async def ticking() -> None:
        nonlocal worst, own
        while not done:
            asked, waited = time.perf_counter(), _waited()
            await asyncio.sleep(0.001)
            late = time.perf_counter() - asked - 0.001
            worst, own = max(worst, late), max(own, late - (_waited() - waited))
            working = time.perf_counter()
            while time.perf_counter() < working + WORK:
                pass

    ticker = asyncio.create_task(ticking())
    await asyncio.sleep(0.1)
    worst = own = 0.0
    started = time.perf_counter()
    await work()
    taken = time.perf_counter() - started
    await asyncio.sleep(0.05)
    done = True
    await ticker
    return Stall(worst * 1e3, own * 1e3, taken)


def indexing(path: Path) -> tuple[Crl, float]:
    """In a process, in turns with nothing at all, with the machine idle and busy; and once in a thread.

    The CRL, and milliseconds of the worst stall of our own.
    """
    found: list[Crl] = []
    data = path.read_bytes()

    async def once() -> None:
        found[:] = [await index_crl(path, KEYS)]

    async def nothing() -> None:
        await asyncio.sleep(2)

    async def threaded() -> None:
        await asyncio.to_thread(Crl, data)

    cores = os.cpu_count() or 1
    worst = 0.0
    for number in sorted({0, cores - 1, cores}):
        busy = [multiprocessing.Process(target=_busy, daemon=True) for _ in range(number)]
        for one in busy:
            one.start()
        worst = max(worst, in_turns(f"{number} of {cores} cores busy", once, nothing))
        for one in busy:
            one.kill()
    found_out = uvloop.run(worst_stall(threaded))
    print(
        f"in a thread, 0 cores busy     {found_out.taken:10.2f} s  {found_out.worst:.1f} ({found_out.own:.1f}) ms stall"
    )
    # A process begins with the peak of the one that starts it: the one that is measured is started by a small one.
    told = subprocess.run([sys.executable, __file__, PEAK, path], stdout=subprocess.PIPE, check=True, text=True)  # noqa: S603
    print(f"peak of the indexing process  {int(told.stdout) / 1024:10.0f} MB")
    return found[0], worst


def in_turns(when: str, first: Work, *others: Work) -> float:
    """The worst stall of each, by round, and the middle of the times they took; of the first, the worst of its own."""
    works = (first, *others)
    rounds = [[uvloop.run(worst_stall(work)) for work in works] for _ in range(STALL_ROUNDS)]
    for work, results in zip(works, zip(*rounds, strict=True), strict=True):
        what = "no indexing" if work.__name__ == "nothing" else "indexing"
        stalls = ", ".join(f"{one.worst:.1f} ({one.own:.1f})" for one in results)
        print(f"{f'{what}, {when}':29} {statistics.median(one.taken for one in results):10.2f} s  {stalls} ms stall")
    return max(one[0].own for one in rounds)


def main() -> None:
    """Everything, with one CRL."""
    listed = serials(ENTRIES)
    data = big_crl(CA, listed, NOW, NOW.replace(year=NOW.year + 1))
    print(f"CRL                           {len(listed):10} entries, {len(data) / 2**20:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "issuing.crl"
        path.write_bytes(data)
        path.with_suffix(".key").write_text(KEYS[0].hex(), encoding="ascii")
        crl, stall = indexing(path)
        found = dict(zip(BOUNDS, (memory(path, listed), lookups(crl, data, listed), stall), strict=True))
    for name, value in found.items():
        print(f"{name:29} {value:10.2f}, at most {BOUNDS[name]:g}{'' if value <= BOUNDS[name] else ': BEYOND'}")


def peak(path: Path) -> None:
    """Print the peak memory of the indexing process, in KB."""
    keys = [bytes.fromhex(path.with_suffix(".key").read_text(encoding="ascii"))]
    os.close(uvloop.run(make_sealed_image(path, keys)))
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


if __name__ == "__main__":
    peak(Path(sys.argv[2])) if PEAK in sys.argv else main()
