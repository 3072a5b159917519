"""What `authz expiry` costs in a large directory: CPU of the whole command and, beside it, of a PostgreSQL server.

`python benchmarks/bench_expiry.py [DIALECT] [USERS] [ORGANIZATIONS]`: sqlite or postgresql, 100,000 users of one
organization by default; 1,000,000 of 1 and of 10,000 are the large cases. Nine users of ten have a registration, which
ends within a year, and half were seen; of two of ten no certificate is required. Answers go to /dev/null, as JSON.
Fails beyond the bounds.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench_directory import DIALECTS, Directory
from support.certificates import Authority
from support.directory import DirectoryStore

from authz.clock import SystemClock
from authz.directory.leaf_columns import leaf_columns
from authz.pki import Certificate, Crl

NOW = SystemClock().now()
DAY = timedelta(days=1)
ROOT = Authority.root(not_before=NOW - DAY, not_after=NOW + 4000 * DAY)
SHORT = Authority.root(key=ROOT.key, not_before=NOW - DAY, not_after=NOW + 20 * DAY)
CA = ROOT.intermediate(not_before=NOW - DAY, not_after=NOW + 3000 * DAY)
LEAF = leaf_columns(Certificate.parse(CA.leaf("leaf", not_before=NOW - DAY).der), b"")
LEAF["not_before"] = LEAF["not_after"] = 0

MICROSECONDS_A_USER = 10.0
MICROSECONDS_A_LINE = 40.0
"""Of CPU, where each twelfth user has a line, and where each has one; a start comes on top of it."""

START = 1.0
BYTES = 150 << 20

COMMAND = """
import atexit, sys
from authz.cli import main
atexit.register(lambda: sys.stderr.write(open("/proc/self/status").read()))
main()
"""
"""The most memory that a process is said to have had begins with its parent's; that of its own is in its status."""

USER = ("id", "organization_id", "name", "enforcement", "active")
REGISTRATION = ("organization_id", "user_id", *LEAF, "label", "created_at")
SEEN = (
    *("organization_id", "user_id", "sha256", "first_seen", "last_seen", "not_after", "issuer", "spki_sha256"),
    *("anchor_sha256", "path", "listener"),
)


def micros(moment: datetime) -> int:
    """As the columns have it."""
    return int(moment.timestamp()) * 1_000_000


def fill(directory: Directory) -> None:
    """All rows, some at a time."""
    each = -(-directory.users // directory.organizations)
    owners = range(1, directory.organizations + 1)
    directory.load([
        ("anchors", ("sha256", "der"), [(ROOT.sha256, ROOT.der)]),
        ("intermediates", ("sha256", "der"), [(CA.sha256, CA.der)]),
        ("organizations", ("id", "name", "active", "binding_scope", "default_enforcement", "token_user_claim"), (
            (owner, f"o{owner:05}", True, "user", "required", "sub") for owner in owners)),
    ])  # fmt: skip
    step = max(1, 100_000 // each)
    for start in range(1, directory.organizations + 1, step):
        some = [Owner(owner, range((owner - 1) * each + 1, owner * each + 1)) for owner in owners[start - 1 :][:step]]
        directory.load([
            ("anchors", ("organization_id", "sha256", "der"), (
                (owner.id, owner.ca.sha256, owner.ca.der) for owner in some if owner.id % 2 == 0)),
            ("users", USER, (row for owner in some for row in owner.users())),
            ("registrations", REGISTRATION, (row for owner in some for row in owner.registrations())),
            ("last_seen", SEEN, (row for owner in some for row in owner.seen())),
        ])  # fmt: skip
    directory.loaded()


class Owner:
    """An organization with its rows; every second one has a CA of its own."""

    def __init__(self, number: int, users: range) -> None:
        self.id, self._users, self.ca, self._path = number, users, CA, CA.sha256 + ROOT.sha256
        if number % 2 == 0:
            life = {"not_before": NOW - DAY, "not_after": NOW + (31 + number * 7 % 4000) * DAY}
            self.ca = Authority.root(f"Root {number}", key=CA.key, **life)
            self._path = self.ca.sha256
        self._leaf = LEAF | {"issuer": self.ca.certificate.subject.public_bytes(), "label": "", "created_at": 0}

    def users(self) -> Iterator[tuple[object, ...]]:
        """Of two of ten no certificate is required."""
        return ((user, self.id, f"u{user:07}", "required" if user % 5 else "observe", True) for user in self._users)

    def registrations(self) -> Iterator[tuple[object, ...]]:
        """Of eight of ten; one has another that lasts longer."""
        for user in self._users:
            for number in range((1 if user % 10 else 0) + (user % 10 == 1)):
                own = {"sha256": sha256(user, number), "not_after": ends(user) + number * 60 * 86_400_000_000}
                yield self.id, user, *(self._leaf | own | {"serial": user.to_bytes(8, "big")}).values()

    def seen(self) -> Iterator[tuple[object, ...]]:
        """Half of the users, some of them with what no one registered."""
        at = micros(NOW - DAY)
        for user in self._users:
            if user % 2 == 0:
                yield (
                    *(self.id, user, sha256(user, 0), at, at, ends(user), self._leaf["issuer"]),
                    *(self._leaf["spki_sha256"], self._path[-32:], self._path, "envoy"),
                )


def sha256(user: int, number: int) -> bytes:
    """Of a user's certificate."""
    return hashlib.sha256(b"%d %d" % (user, number)).digest()


def ends(user: int) -> int:
    """When a user's certificate ends: within a year, in an order that is not the users'."""
    return micros(NOW + DAY / 2) + (user * 7_919 % 365) * 86_400_000_000


def server_seconds(directory: Directory) -> float:
    """CPU of PostgreSQL's processes that have ended; 0 over SQLite."""
    if directory.url.startswith("sqlite"):
        return 0.0
    with DirectoryStore(directory.url).reading() as connection:
        postmaster = connection.exec_driver_sql("SELECT pg_read_file('postmaster.pid')").scalar_one().split()[0]
    time.sleep(0.2)
    values = Path(f"/proc/{postmaster}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(values[13]) + int(values[14])) / os.sysconf("SC_CLK_TCK")


def cost(directory: Directory, *words: str) -> tuple[float, float, int]:
    """Seconds of the command and of the server, and the command's most bytes."""
    before = server_seconds(directory)
    environment = os.environ | {"AUTHZ_DATABASE": directory.url}
    command = [sys.executable, "-c", COMMAND, "expiry", *words, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)  # noqa: S603
    assert process.stderr is not None
    said, most = process.stderr.read().decode().partition("Name:")[::2]
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    own = used.ru_utime + used.ru_stime
    server = server_seconds(directory) - before
    kib = int(most.partition("VmHWM:")[2].split()[0])
    print(f"{own:6.2f} s {server:6.2f} s of the server {kib >> 10:5} MiB  {said.strip()}", flush=True)
    assert status == 0
    return own, server, kib << 10


def with_short_anchor(directory: Directory) -> Callable[[], None]:
    """The anchor ends in twenty days; until what is returned is called."""
    change = "UPDATE anchors SET sha256 = ?, der = ? WHERE organization_id IS NULL"
    directory.sql([(change, [(SHORT.sha256, SHORT.der)])])
    return lambda: directory.sql([(change, [(ROOT.sha256, ROOT.der)])])


def with_added_crl(directory: Directory) -> Callable[[], None]:
    """The CA's CRL was added, and ends in twenty days; until what is returned is called."""
    store = DirectoryStore(directory.url)
    store.add_crl(Crl(CA.crl(this_update=NOW - DAY, next_update=NOW + 20 * DAY)), NOW)
    store.close()
    return lambda: directory.sql([("DELETE FROM crls WHERE id > ?", [(0,)])])


Prepare = Callable[[Directory], Callable[[], None]] | None

CASES: dict[str, tuple[Prepare, tuple[str, ...]]] = {
    "30 days": (None, ("--days", "30")),
    "30 days, by user": (None, ("--days", "30", "--by", "user")),
    "30 days, by organization": (None, ("--days", "30", "--by", "organization")),
    "30 days, by anchor": (None, ("--days", "30", "--by", "anchor")),
    "365 days": (None, ("--days", "365")),
    "365 days, by organization": (None, ("--days", "365", "--by", "organization")),
    "an anchor ends above everybody": (with_short_anchor, ("--days", "30")),
    "a CRL ends above everybody": (with_added_crl, ("--days", "30")),
}


def main() -> int:
    """A line for each case."""
    words = dict(enumerate(sys.argv))
    dialect, users, organizations = words.get(1, "sqlite"), int(words.get(2, 100_000)), int(words.get(3, 1))
    with tempfile.TemporaryDirectory() as folder:
        directory = DIALECTS[dialect](Path(folder), organizations, users)
        fill(directory)
        print(f"{dialect}: {users} users in {organizations} organizations")
        wrong = []
        for what, (prepare, asked) in CASES.items():
            print(f"{what:32}", end="", flush=True)
            restore = prepare and prepare(directory)
            own, server, most = cost(directory, *asked)
            if restore is not None:
                restore()
            bound = MICROSECONDS_A_LINE if asked[1] == "365" else MICROSECONDS_A_USER
            wrong += [what] if most > BYTES or (own + server - START) * 1e6 / users > bound else []
        print(f"beyond the bounds: {', '.join(wrong) or 'nothing'}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
