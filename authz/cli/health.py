"""What `authz doctor` looks at of the service: clock, rights, versions, directory, CRLs, anchors, proxy's bundle."""

from __future__ import annotations

import ctypes
import json
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Final, NamedTuple

from cryptography import __version__ as cryptography_version
from cryptography.hazmat.backends.openssl import backend

from authz.admin.canary import CANARY, is_left_over
from authz.admin.forecast import forecasts
from authz.app.config import Settings
from authz.app.crls import CrlSnapshot
from authz.cli.pem_file import read_certificates
from authz.directory import Store
from authz.directory.crls import list_crls
from authz.directory.databases import database_of
from authz.directory.organizations import list_organizations
from authz.directory.queries import find
from authz.directory.schema import anchors, organizations
from authz.errors import ConfigError, Refused
from authz.pki import Certificate
from authz.pki.x509.library import pem_blocks

OLDEST_CRYPTOGRAPHY: Final = (50, 0, 2)
"""As in pyproject.toml: the first without CVE-2026-69249."""

AHEAD: Final = timedelta(minutes=5)
"""How far ahead something may have been written before the clock is doubted."""

_TIME_ERROR: Final = 5
"""What adjtimex(2) returns of a clock that is not synchronized."""

_TIMEX_BYTES: Final = 256
"""More than `struct timex` takes on any Linux (208 bytes)."""


class Trouble(NamedTuple):
    """Something that is not as it should be, and what to do."""

    check: str
    severity: str
    what: str
    mend: str


@dataclass(frozen=True)
class Subject:
    """What is looked at."""

    settings: Settings
    store: Store
    now: datetime
    bundle: Path | None = None


def troubles(subject: Subject) -> Iterator[Trouble]:
    """What every check finds. Raises `ConfigError` or `StoreError` for what cannot be read."""
    for check in CHECKS:
        yield from check(subject)


def clock_synchronized() -> bool:
    """Whether the kernel takes its clock for synchronized; true where it cannot be asked."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return True
    return state != _TIME_ERROR


def _clock(subject: Subject) -> Iterator[Trouble]:
    if not clock_synchronized():
        yield Trouble("clock", "warning", "the kernel's clock is not synchronized", "run chrony or systemd-timesyncd")
    ahead = subject.now + AHEAD
    with subject.store.reading() as connection:
        for crl in (stored.crl for stored in list_crls(connection)):
            if crl.this_update > ahead:
                what = f"the CRL of {crl.issuer.text} is of {crl.this_update:%Y-%m-%d %H:%M}Z, which is to come"
                yield Trouble("clock", "warning", what, "set this machine's clock, or the CA's")
    file = database_of(subject.settings.database).file
    if file is not None and datetime.fromtimestamp(file.stat().st_mtime, subject.now.tzinfo) > ahead:
        yield Trouble("clock", "fatal", "the directory was written in the future: the clock went back", "set the clock")


def _rights(subject: Subject) -> Iterator[Trouble]:
    file = database_of(subject.settings.database).file
    if file is not None:
        yield from _open_to(file, 0o007, "the directory")
    if subject.settings.ops.tls is not None:
        yield from _open_to(subject.settings.ops.tls.key, 0o077, "the key of the operators' listener")
    for listener in subject.settings.listener:
        if listener.tls is not None:
            yield from _open_to(listener.tls.key, 0o077, f"the key of listener {listener.name}")
        if listener.address.startswith("unix:"):
            yield from _open_to(Path(listener.address.removeprefix("unix:")), 0o007, f"the socket of {listener.name}")


def _open_to(path: Path, others: int, what: str) -> Iterator[Trouble]:
    if path.exists() and path.stat().st_mode & others:
        mode = f"{path.stat().st_mode & 0o777:04o}"
        yield Trouble("rights", "fatal", f"{what} ({path}) is open to others: {mode}", f"chmod o= {path}")


def _operators(subject: Subject) -> Iterator[Trouble]:
    ops = subject.settings.ops
    if ops.unsafe_plaintext:
        what = f"every client of {ops.address} reads the names of organizations and of sources of CRLs"
        yield Trouble("operators", "warning", what, "give ops.tls a certificate, and the names of those who may read")
    if ops.tls is not None and ops.health_probe_address is None:
        what = "probes have no listener: an orchestrator's show no certificate"
        yield Trouble("operators", "warning", what, "set ops.health_probe_address, to 127.0.0.1:9902 for instance")


def _versions(_subject: Subject) -> Iterator[Trouble]:
    installed = tuple(int(part) for part in cryptography_version.split(".")[:3] if part.isdecimal())
    if installed < OLDEST_CRYPTOGRAPHY:
        what = f"cryptography {cryptography_version} with {backend.openssl_version_text()}"
        yield Trouble("versions", "fatal", f"{what} is too old", "install the package again")


def _directory(subject: Subject) -> Iterator[Trouble]:
    if is_left_over(subject.store):
        what = f"the canary {CANARY} is left over"
        yield Trouble("directory", "warning", what, "authz doctor prepare FOLDER --remove")
    with subject.store.reading() as connection:
        if find(connection, organizations) is None:
            yield Trouble("directory", "warning", "there is no organization", "authz org add NAME --host HOST")
        shared = find(connection, anchors, organization_id=None)
        for organization in list_organizations(connection):
            name = organization.name
            if not organization.hosts:
                yield Trouble("directory", "warning", f"{name} has no host", f"authz org set {quote(name)} --host HOST")
            if shared is None and find(connection, anchors, organization_id=organization.id) is None:
                what = f"{name} has no trust anchor: no certificate verifies"
                yield Trouble("directory", "warning", what, f"authz anchor add {quote(name)} roots.pem")


def _revocation(subject: Subject) -> Iterator[Trouble]:
    crls = CrlSnapshot(subject.settings, subject.store.crl_store())
    stopped = [each for each in forecasts(subject.store, crls, subject.now) if each.at <= subject.now]
    for (organization, because), number in Counter((each.organization, each.because) for each in stopped).items():
        what = f"{number} registered certificates of {organization} do not work now: {because}"
        yield Trouble("certificates", "fatal", what, "authz crl list, authz crl forecast")


def _public_roots(subject: Subject) -> Iterator[Trouble]:
    context = ssl.create_default_context()
    public = {sha256(der).digest() for der in context.get_ca_certs(binary_form=True)}
    for anchor in subject.store.anchors():
        if anchor.certificate.sha256 in public:
            what = f"{anchor.certificate.subject.text} is a public root: strangers hold certificates below it"
            yield Trouble("anchors", "fatal", what, "trust a CA that is your own or your partner's")


def _bundle(subject: Subject) -> Iterator[Trouble]:
    if subject.bundle is None:
        return
    ours = {anchor.certificate.sha256: anchor.certificate.subject.text for anchor in subject.store.anchors()}
    theirs = _anchors_in(subject.bundle)
    for digest in ours.keys() - theirs.keys():
        yield Trouble("bundle", "fatal", f"the proxy does not trust {ours[digest]}", "authz anchor export")
    for digest in theirs.keys() - ours.keys():
        what = f"the proxy trusts {theirs[digest]}, the directory does not"
        yield Trouble("bundle", "warning", what, "authz anchor export")


def _anchors_in(path: Path) -> dict[bytes, str]:
    """The anchors of a bundle in PEM, or of the secret of `authz anchor export --sds`. Raises `ConfigError`."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if not text.lstrip().startswith("{"):
        return {each.sha256: each.subject.text for each in read_certificates(path)}
    try:
        (secret,) = json.loads(text)["resources"]
        pem = secret["validation_context"]["trusted_ca"]["inline_string"]
        anchors = list(map(Certificate.parse, pem_blocks(pem.encode(), b"CERTIFICATE")))
        return {anchor.sha256: anchor.subject.text for anchor in anchors}
    except (ValueError, KeyError, TypeError, AttributeError, Refused) as error:
        raise ConfigError(f"{path} holds no anchors", hint="authz anchor export --sds writes such a file") from error


CHECKS: Final[tuple[Callable[[Subject], Iterator[Trouble]], ...]] = (
    _clock,
    _rights,
    _operators,
    _versions,
    _directory,
    _revocation,
    _public_roots,
    _bundle,
)
