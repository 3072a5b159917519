"""What an apply costs: seconds, memory, and how long another writer waits meanwhile.

`python benchmarks/bench_apply.py [USERS] [yaml|jsonl] [URL]`: 5,000 users with a certificate each, as YAML, into a
SQLite file of its own by default; 1,000,000 as JSON lines is the large case. Another process changes a user of another
organization again and again; its longest wait is the figure that has to stay below 2 s.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.synchronize
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority

from authz.admin.audited_store import AuditedStore
from authz.admin.organizations import OrganizationChange, add_organization
from authz.admin.users import add_user, change_user
from authz.clock import SystemClock
from authz.directory.databases import database_of
from authz.errors import StoreError
from authz.model import Enforcement

BARS = {5_000: (15.0, 2.0, 500), 1_000_000: (900.0, 2.0, 500)}
"""Seconds, seconds that another writer waits, and MiB, by the number of users."""

NOW = SystemClock().now()
ROOT = Authority.root()
CA = ROOT.intermediate()
LEAF = CA.leaf("user", not_after=NOW.replace(year=NOW.year + 1))


def certificates(users: int) -> Iterator[str]:
    """A certificate for each user in PEM, with the CA's: alike but for the serial number."""
    builder = x509.CertificateBuilder().subject_name(LEAF.certificate.subject).issuer_name(LEAF.certificate.issuer)
    builder = builder.public_key(LEAF.key.public_key())
    builder = builder.not_valid_before(LEAF.certificate.not_valid_before_utc)
    builder = builder.not_valid_after(LEAF.certificate.not_valid_after_utc)
    for extension in LEAF.certificate.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    for number in range(users):
        signed = builder.serial_number(2**64 + number).sign(CA.key, hashes.SHA256())
        yield signed.public_bytes(Encoding.PEM).decode() + CA.pem


def write(path: Path, users: int, form: str) -> None:
    """The documents: an organization, its anchor, and each user with a certificate."""
    first: dict[str, object] = {"kind": "Organization", "name": "acme", "hosts": ["api.acme.example"]}
    anchor: dict[str, object] = {"kind": "Anchor", "organization": "acme", "certificate": ROOT.pem}
    with path.open("wb") as file:
        for document in (first, anchor):
            file.write(written(document, form))
        for number, pem in enumerate(certificates(users)):
            owner = {"organization": "acme", "user": f"user-{number}", "certificate": pem}
            file.write(written({"kind": "User", "organization": "acme", "name": f"user-{number}"}, form))
            file.write(written({"kind": "Certificate", **owner}, form))


def written(document: dict[str, object], form: str) -> bytes:
    """A document as a line, or in YAML."""
    if form == "jsonl":
        return orjson.dumps(document) + b"\n"
    lines = [
        f"{key}: |\n{textwrap.indent(str(value), '  ')}" if key == "certificate" else f"{key}: {value}\n"
        for key, value in document.items()
    ]
    return ("---\n" + "".join(lines)).encode()


def neighbour(url: str, stop: multiprocessing.synchronize.Event, longest: object) -> None:
    """Change a user of another organization again and again, and keep the longest wait."""
    store = AuditedStore(url)
    number = 0
    while not stop.is_set():
        begin = time.monotonic()
        with contextlib.suppress(StoreError):  # it waited for 5 s
            change_user(store, "globex", "nina", enforcement=list(Enforcement)[number % 2], active=None)
        longest.value = max(longest.value, time.monotonic() - begin)  # type: ignore[attr-defined]
        number += 1
        time.sleep(0.05)


def main() -> int:
    """Measure, print, and compare with the bars."""
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    form = sys.argv[2] if len(sys.argv) > 2 else "yaml"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        url = sys.argv[3] if len(sys.argv) > 3 else f"sqlite:///{folder}/authz.db"
        database_of(url).create()
        with contextlib.closing(AuditedStore(url)) as store:
            add_organization(store, "globex", OrganizationChange())
            add_user(store, "globex", "nina")
        documents = Path(folder, f"documents.{form}")
        write(documents, users, form)
        stop, longest = multiprocessing.Event(), multiprocessing.Value("d", 0.0)
        other = multiprocessing.Process(target=neighbour, args=(url, stop, longest))
        other.start()
        for name in ("first", "again"):
            begin = time.monotonic()
            command = [sys.executable, "-m", "authz", "apply", str(documents)]
            subprocess.run(command, check=True, env={"AUTHZ_DATABASE": url, "PATH": ""})  # noqa: S603 - our own
            seconds = time.monotonic() - begin
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            mebibytes = usage.ru_maxrss // 1024
            cpu = usage.ru_utime + usage.ru_stime
            print(f"{name}: {users} users, {form}: {seconds:.1f} s, {cpu:.1f} s of CPU so far, {mebibytes} MiB")
            print(f"  {documents.stat().st_size >> 20} MiB of documents; another writer waited {longest.value:.2f} s")
            bar = BARS.get(users, (float("inf"), 2.0, 500))
            if name == "first" and not (seconds < bar[0] and longest.value < bar[1] and mebibytes < bar[2]):
                print(f"beyond the bars of {bar[0]:.0f} s, {bar[1]:.0f} s and {bar[2]} MiB")
        stop.set()
        other.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
