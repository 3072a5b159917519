"""A kept copy that ended its reader twice is not read a third time, and no other pays for it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.certificates import Authority, tlv
from support.crl_subscriber_script import CA as CA_FILE
from support.hostile_crls import NUMBER, extension, now, point, signed
from support.process_kill import TESTS

from authz.crls.disk_store import MAX_DEATHS, CrlDiskStore, DiskStoreFailed, FetchRecord, copy_name
from authz.pki import Certificate, Crl

CA = Authority.root("CA")
KEY = Certificate.parse(CA.der).spki_der
BOOT = Path("/proc/sys/kernel/random/boot_id")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BOOT.exists(), reason="marks name the start of the machine"),
]


class DiskCopy:
    """A folder with four copies, each of a scope of its own; `ended` is what readers print until they end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "crls"
        self.ca = folder / CA_FILE
        self.ca.write_bytes(CA.der)
        scopes = [point(tlv(0x86, f"http://a.test/{number}".encode())) for number in range(4)]
        bodies = [signed(CA, extension(NUMBER, tlv(2, b"\x01")), one, begin=now()) for one in scopes]
        self.names = {}
        with CrlDiskStore(self.folder) as keep:
            for body in bodies:
                crl = Crl(body)
                name = copy_name(bytes(crl.issuer), KEY, crl.scope, delta=False)
                keep.put(name, io.BytesIO(body), FetchRecord("http://a.test/", None, None, datetime.now(UTC), KEY))
                self.names[hashlib.sha256(body).hexdigest()] = name

    def read(self, deadly: str = "", how: str = "kill") -> dict[str, list[str]]:
        """What a reader printed, by the first word."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
        command = [sys.executable, str(TESTS / "support" / "crl_reader_script.py"), self.folder, self.ca, deadly, how]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        found: dict[str, list[str]] = {"read": [], "held": [], "warning": []}
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            found[word].append(rest)
        return found

    def marks(self) -> dict[str, int]:
        """Deaths by name."""
        return {one.stem: json.loads(one.read_bytes())["deaths"] for one in self.folder.glob("*.reading")}


@pytest.fixture
def kept(tmp_path: Path) -> DiskCopy:
    """Four copies."""
    return DiskCopy(tmp_path)


def test_copy_that_ended_two_readers_is_set_aside_and_its_neighbours_are_held(kept: DiskCopy) -> None:
    """Killed twice; the third reader never opens it, reports it, and holds all others."""
    deadly = sorted(kept.names, key=lambda one: kept.names[one])[1]
    first = kept.read(deadly)
    assert (first["read"][-1], first["held"], kept.marks()) == (deadly, [], {kept.names[deadly]: 1})
    second = kept.read(deadly)
    # The others come first: they answer, and what ends the reader bears the only mark.
    assert (len(second["read"]), second["read"][-1], kept.marks()) == (4, deadly, {kept.names[deadly]: 2})
    third = kept.read(deadly)
    assert set(third["read"]) == set(third["held"]) == kept.names.keys() - {deadly}
    assert third["warning"] == [f"the kept CRL {kept.names[deadly]} is set aside: 2 processes ended while they read it"]
    assert kept.marks() == {}
    assert [one.stem for one in kept.folder.glob("*.corrupt")] == [kept.names[deadly]]
    assert kept.read(deadly)["warning"] == []


def test_copy_that_ended_one_reader_and_not_the_next_is_as_good_as_any(kept: DiskCopy) -> None:
    """What ended the first was something else; it has two lives again."""
    deadly = next(iter(kept.names))
    for _ in range(3):
        kept.read(deadly)
        assert kept.marks() == {kept.names[deadly]: 1}
        assert set(kept.read()["held"]) == kept.names.keys()
        assert kept.marks() == {}


def test_ordered_stop_while_a_copy_is_read_leaves_no_mark(kept: DiskCopy) -> None:
    """However often a service is stopped while it starts."""
    slow = next(iter(kept.names))
    for _ in range(3):
        assert kept.read(slow, "order")["held"] == []
        assert kept.marks() == {}


def test_end_of_the_machine_speaks_against_no_copy(kept: DiskCopy) -> None:
    """Two power failures during a long read: the marks are of another start of the machine."""
    deadly = next(iter(kept.names))
    for _ in range(MAX_DEATHS + 1):
        kept.read(deadly)
        for one in kept.folder.glob("*.reading"):
            one.write_text(json.dumps({**json.loads(one.read_text()), "boot": "another"}))
    assert set(kept.read()["held"]) == kept.names.keys()


def test_mark_goes_with_its_copy(kept: DiskCopy) -> None:
    """Whatever takes the copy's place was not read by anybody, and a mark without a copy is removed."""
    deadly, other, *_ = kept.names
    kept.read(deadly)
    with CrlDiskStore(kept.folder) as keep:
        keep.put(kept.names[deadly], io.BytesIO(b"newer"))
        assert kept.marks() == {}
    (kept.folder / f"{kept.names[other]}.reading").write_text("{}")
    (kept.folder / "gone.reading").write_text(json.dumps({"boot": BOOT.read_text().strip(), "deaths": 9}))
    with CrlDiskStore(kept.folder) as keep:
        assert {one.deaths for one in keep.load()} == {0}
        keep.remove(kept.names[other])
    assert list(kept.folder.glob("*.reading")) == []


def test_copies_are_read_though_the_disk_takes_no_mark(kept: DiskCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not cost what is there; one that stands counts on in its place."""
    with CrlDiskStore(kept.folder) as keep:
        one, *_ = keep.load()
        keep.mark(one)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempfile.mkstemp", full)
        first, *_, marked = keep.load()
        with pytest.raises(DiskStoreFailed, match="being read"):
            keep.mark(first)
        assert [each.deaths for each in keep.load()] == [0, 0, 0, 1]
        keep.mark(marked)
        assert [each.deaths for each in keep.load()] == [0, 0, 0, MAX_DEATHS]


def test_system_without_a_boot_id_counts_every_end(kept: DiskCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather read a copy once too seldom than too often."""
    monkeypatch.setattr("authz.crls.disk_store.BOOT_ID", kept.folder / "none")
    with CrlDiskStore(kept.folder) as keep:
        one, *_ = keep.load()
        keep.mark(one)
        assert max(each.deaths for each in keep.load()) == 1
