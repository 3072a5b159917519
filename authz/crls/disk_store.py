"""The last good copy of each CRL, kept on disk across restarts, power failures and `kill -9`.

A copy is written beside its place, synced, and renamed: a reader finds the old one or the new one,
whole. Nothing read back is trusted for having been here: the caller verifies it again, and what is
remembered of its source serves for a conditional request, only while it belongs to the very copy held.

All of it blocks: call it from a thread.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self

from authz.errors import AuthzError, ConfigError
from authz.text import shown

TEMPORARY: Final = ".tmp-"
"""How the names of unfinished files begin; whatever is called so is removed at the next start."""

MAX_CORRUPT: Final = 8
"""Copies set aside that are kept for a look."""

MAX_ASIDE_BYTES: Final = 128 * 1024 * 1024
"""Bytes of the copies set aside, all together."""

MAX_DEATHS: Final = 2
"""Readers that a copy may have ended: the first may have ended for another cause, the second speaks against it."""

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""What is another after each start of the machine (proc_sys_kernel(5))."""

MAX_SIDECAR: Final = 64 * 1024
"""Bytes of what is remembered of a copy's source: a URL and two header fields."""

MAX_WHY: Final = 1_000
CHUNK: Final = 1024 * 1024

_BODY, _SIDECAR, _CORRUPT, _WHY, _LOCK, _MARK = ".crl", ".json", ".corrupt", ".why", ".lock", ".reading"
_MET = "met"
_TOMBSTONES = "tombstones"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_UNREADABLE: Final = (OSError, ValueError, TypeError, KeyError, RecursionError)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class DiskStoreFailed(AuthzError):
    """A copy could not be kept, or moved; `hint` says what to do. What was kept before stays as it was."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DiskCopy(NamedTuple):
    """A whole file, as it was put under `name`; `deaths` is how many processes ended while they read it."""

    name: str
    path: Path
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class FetchRecord:
    """Where a copy came from, and what to ask its server next time. `fetched_at` is in UTC.

    `signer` is the SubjectPublicKeyInfo, in DER, of the key that signed it, with which it is verified again. `named` is
    whether the operator named the source, and no certificate.
    """

    url: str
    etag: str | None
    last_modified: str | None
    fetched_at: datetime
    signer: bytes = b""
    named: bool = False


def copy_name(issuer: bytes, signer_spki: bytes, scope: bytes, *, delta: bool) -> str:
    """The name a CRL is kept under: 64 hexadecimal digits of all that makes it another one.

    `issuer` is the DER of the issuer's name, `signer_spki` of the key that signed, `scope` of the issuing
    distribution point (empty without one).
    """
    digest = hashlib.sha256()
    for part in (issuer, signer_spki, scope, bytes([delta])):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def evidence_name(name: str, sha256: bytes) -> str:
    """The name for a CRL that counts as evidence alone, beside that of the given name."""
    return f"{name}-{sha256.hex()[:32]}"


def without_evidence(name: str) -> str:
    """The name beside which an `evidence_name` stands; any other name itself."""
    return name.partition("-")[0]


def is_evidence(name: str) -> bool:
    """Whether it is such a name."""
    return "-" in name


class CrlDiskStore:
    """A folder of copies that this process alone owns, as long as it is open.

    The folder is made if need be, and what an interrupted writer left is removed. Raises `ConfigError`
    when it cannot be used, others may write into it, or another process owns it. (The ownership passes to
    forked children, too; a program that is started anew does not inherit it.)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.check(folder)
        with _usable(folder):
            self._lock = _locked(folder)
        for path in folder.iterdir():
            if path.name.startswith(TEMPORARY):
                with contextlib.suppress(OSError):
                    path.unlink()

    @staticmethod
    def check(folder: Path) -> None:
        """Make the folder if need be, and check that its owner can use it. Raises `ConfigError`."""
        with _usable(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(folder)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; nothing may be put afterwards."""
        self._lock.close()

    def load(self) -> list[DiskCopy]:
        """The copies, by name, those that ended a reader last; the rest is left alone. Raises `DiskStoreFailed`."""
        with _failing_as(f"the CRLs kept in {self.folder} cannot be listed"), os.scandir(self.folder) as entries:
            files = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
        for orphan in (
            name for name in files if name.endswith(_MARK) and name.removesuffix(_MARK) + _BODY not in files
        ):
            self.unmark(orphan.removesuffix(_MARK))
        names = [name.removesuffix(_BODY) for name in sorted(files) if name.endswith(_BODY)]
        kept = [DiskCopy(name, self._path(name, _BODY), self._deaths(name)) for name in names if _NAME.fullmatch(name)]
        return sorted(kept, key=lambda copy: copy.deaths)

    def mark(self, kept: DiskCopy) -> None:
        """Note that this process begins to read the copy: should it end meanwhile, that was one more.

        The end of the machine does not count: any copy might be read just then. Raises `DiskStoreFailed`.
        """
        mark = {"boot": _boot(), "deaths": kept.deaths + 1}
        with _failing_as(f"that the CRL {kept.name} is being read cannot be noted"):
            self._write_mark(self._path(kept.name, _MARK), json.dumps(mark).encode())

    def _write_mark(self, path: Path, mark: bytes) -> None:
        try:
            self._install(path, [mark], durable=False)
        except OSError as error:
            # A full disk has room for what takes the place of as much.
            if error.errno not in _NO_ROOM or not path.exists():
                raise
            with path.open("r+b") as file:
                file.write(mark)
                file.truncate()

    def unmark(self, name: str) -> None:
        """The copy was read, or is not read on; what ended its readers before was something else."""
        if _NAME.fullmatch(name):
            with contextlib.suppress(OSError):
                self._path(name, _MARK).unlink()

    def _deaths(self, name: str) -> int:
        try:
            with self._path(name, _MARK).open("rb") as file:
                mark = json.loads(file.read(MAX_SIDECAR))
            return int(mark["deaths"]) if mark["boot"] == _boot() else 0
        except _UNREADABLE:
            return 0

    def put(
        self, name: str, body: BinaryIO, origin: FetchRecord | None = None, rank: Mapping[str, Any] | None = None
    ) -> Path:
        """Keep what `body` holds, from where it stands, in the place of what was kept under `name`; its path.

        `rank` is what must not be lost should the copy itself be (`Tombstone.to_json`).

        Raises `DiskStoreFailed`; unless the sentence says otherwise, the copy before is still there.
        """
        path = self._path(name, _BODY)
        digest = hashlib.sha256()
        with _failing_as(f"the CRL {name} cannot be kept, and the copy before it stays"):
            self._install(path, _hashed(body, digest))
        self.unmark(name)
        with _failing_as(f"the CRL {name} is kept, but may not survive a power failure"):
            _sync_folder(self.folder)
        with _failing_as(f"the CRL {name} is kept, but not what to ask its server next"):
            self._write_sidecar(name, origin, digest.hexdigest(), rank)
        return path

    def note(self, name: str, origin: FetchRecord) -> None:
        """Remember anew where the copy kept under `name` came from. Raises `DiskStoreFailed`."""
        with _failing_as(f"what to ask the server of the CRL {name} next cannot be kept"):
            self._write_sidecar(name, origin, self._sha256(name), self.rank(name))

    def origin(self, name: str) -> FetchRecord | None:
        """Where the copy kept under `name` came from; None if that is not known of this very copy."""
        try:
            sidecar = self._sidecar(name)
            if sidecar["sha256"] != self._sha256(name):
                return None
            url, etag, last_modified = sidecar["url"], sidecar["etag"], sidecar["last_modified"]
            fetched_at = datetime.fromisoformat(sidecar["fetched_at"])
            signer = base64.b64decode(sidecar["signer"], validate=True)
            named = sidecar.get("named") is True
        except _UNREADABLE:
            return None
        texts = isinstance(url, str) and isinstance(etag, str | None) and isinstance(last_modified, str | None)
        return FetchRecord(url, etag, last_modified, fetched_at, signer, named) if texts and fetched_at.tzinfo else None

    def signer(self, name: str) -> bytes:
        """The key (SubjectPublicKeyInfo, DER) that signed whatever was kept under `name`; empty if that is not known.

        One name is of one key only (`copy_name`), so this holds though the copy may be another than the last.
        """
        try:
            return base64.b64decode(self._sidecar(name)["signer"], validate=True)
        except _UNREADABLE:
            return b""

    def url(self, name: str) -> str:
        """Where whatever was kept under `name` came from last; empty if that is not known."""
        try:
            return str(self._sidecar(name)["url"])
        except _UNREADABLE:
            return ""

    def rank(self, name: str) -> dict[str, Any] | None:
        """What `put` was given as the rank of the copy, whatever became of the copy itself; None if it is not known."""
        try:
            return dict(self._sidecar(name)["rank"])
        except _UNREADABLE:
            return None

    def _sidecar(self, name: str) -> dict[str, Any]:
        with self._path(name, _SIDECAR).open("rb") as file:
            return dict(json.loads(file.read(MAX_SIDECAR)))

    def set_aside(self, name: str, why: str) -> None:
        """Take a copy that cannot be used out of the way, for the operator to look at, with the reason beside it.

        Of those only the newest few are kept. Raises `DiskStoreFailed`.
        """
        aside = self._path(name, _CORRUPT)
        with _failing_as(f"the copy of the CRL {name} cannot be set aside"):
            self._path(name, _BODY).replace(aside)
            self._path(name, _SIDECAR).unlink(missing_ok=True)
            self.unmark(name)
            self._prune_aside()
            _sync_folder(self.folder)
        with _failing_as(f"the copy of the CRL {name} is set aside, but not why"):
            self._install(aside.with_suffix(_WHY), [shown(why, MAX_WHY).encode()])

    def _prune_aside(self) -> None:
        """The newest stay, by when they were renamed, which is what changed the inode last."""
        size = 0
        aside = [(path, path.stat()) for path in self.folder.glob(f"*{_CORRUPT}")]
        for at, (path, status) in enumerate(sorted(aside, key=lambda item: -item[1].st_ctime_ns)):
            size += status.st_size
            if at >= MAX_CORRUPT or size > MAX_ASIDE_BYTES:
                path.unlink()
                path.with_suffix(_WHY).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Forget what is kept under `name`, if anything. Raises `DiskStoreFailed`."""
        with _failing_as(f"the copy of the CRL {name} cannot be removed"):
            for suffix in (_BODY, _SIDECAR, _MARK):
                self._path(name, suffix).unlink(missing_ok=True)
            _sync_folder(self.folder)

    def remember(self, met: bytes) -> None:
        """Keep what is to be known of all copies after a restart: who met them. Raises `DiskStoreFailed`."""
        with _failing_as("who met which CRL cannot be kept"):
            self._install(self.folder / _MET, [met])

    def remembered(self) -> bytes:
        """What `remember` kept last; empty if that cannot be read."""
        try:
            return (self.folder / _MET).read_bytes()
        except OSError:
            return b""

    def bury(self, tombstones: bytes) -> None:
        """Keep what outlives the copies that go (`Tombstones.to_bytes`). Raises `DiskStoreFailed`."""
        with _failing_as("which CRLs were held before cannot be kept"):
            self._install(self.folder / _TOMBSTONES, [tombstones])
            _sync_folder(self.folder)

    def buried(self) -> bytes:
        """What `bury` kept last; empty if that cannot be read."""
        try:
            return (self.folder / _TOMBSTONES).read_bytes()
        except OSError:
            return b""

    def _path(self, name: str, suffix: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name to keep a CRL under: {name}")
        return self.folder / f"{name}{suffix}"

    def _sha256(self, name: str) -> str:
        with self._path(name, _BODY).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _write_sidecar(
        self, name: str, origin: FetchRecord | None, sha256: str, rank: Mapping[str, Any] | None
    ) -> None:
        path = self._path(name, _SIDECAR)
        if origin is None:
            path.unlink(missing_ok=True)
            return
        sidecar = {
            "sha256": sha256,
            "url": origin.url,
            "etag": origin.etag,
            "last_modified": origin.last_modified,
            "fetched_at": origin.fetched_at.isoformat(),
            "signer": base64.b64encode(origin.signer).decode(),
            "named": origin.named,
            "rank": rank,
        }
        self._install(path, [json.dumps(sidecar).encode()])

    def _install(self, path: Path, chunks: Iterator[bytes] | list[bytes], *, durable: bool = True) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=self.folder)
        try:
            try:
                for chunk in chunks:
                    _write(descriptor, chunk)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise


def _boot() -> str:
    """Empty where it cannot be read: then the end of the machine counts as that of the process."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def _hashed(body: BinaryIO, digest: hashlib._Hash) -> Iterator[bytes]:
    empty = True
    while chunk := body.read(CHUNK):
        empty = False
        digest.update(chunk)
        yield chunk
    if empty:
        raise OSError(errno.ENODATA, "it is empty")


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    """A rename is safe from a power failure once the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_private(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise ConfigError(
            f"others may write into {folder}, where CRLs are to be kept",
            hint="name a folder that does not exist yet, or give this one to the service alone (chmod 700)",
        )


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"CRLs cannot be kept in {folder}: {error.strerror or error}",
            hint="name a folder that this service may write to",
        ) from error


def _locked(folder: Path) -> BinaryIO:
    """A file that holds the folder's lock while it is open; the lock goes with the process, however it ends."""
    file = os.fdopen(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno != errno.EWOULDBLOCK:
            raise
        raise ConfigError(
            f"another process keeps its CRLs in {folder}", hint="stop it, or give each service a folder of its own"
        ) from None
    return file


@contextlib.contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """Raise an error of the system as what it means here."""
    try:
        yield
    except OSError as error:
        hint = "make room on the disk, or move the folder" if error.errno in _NO_ROOM else ""
        raise DiskStoreFailed(f"{what}: {error.strerror or error}", hint=hint) from error
