"""Which keys of key sets end."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.command_world import ALICE, NOW

from authz.admin.key_sets import MAX_BYTES, KeyEnd, key_ends
from authz.directory import Store
from authz.model import TokenSettings
from authz.pki import Certificate

END = NOW.replace(microsecond=0) + timedelta(days=3)
CHAIN = [base64.b64encode(ALICE.der).decode(), "no certificate"]


def ends(store: Store, keys: str) -> list[KeyEnd]:
    """Those of a set of that location."""
    organization = store.organization("acme")
    store.set_organization(replace(organization, token=TokenSettings(issuer="https://i", keys=keys)))
    with store.reading() as connection:
        return list(key_ends(connection))


def written(path: Path, *keys: object) -> str:
    """A file with those keys."""
    path.write_text(json.dumps({"keys": keys}))
    return str(path)


def test_key_ends_as_its_issuer_states_it(store: Store, tmp_path: Path) -> None:
    """By `exp`, or by its certificate, whichever comes first; any other has no end."""
    later = {"kid": "both", "exp": END.timestamp() + 1e9, "x5c": CHAIN}
    keys = written(tmp_path / "keys.json", {"kid": "a", "exp": END.timestamp()}, {"kid": "b"}, {"x5c": CHAIN}, later)
    names = [f"key {kid} of the key set {keys}" for kid in ("a", "2", "both")]
    dates = (END, *2 * [Certificate.parse(ALICE.der).not_after])
    assert ends(store, keys) == [KeyEnd(at, "acme", name) for at, name in zip(dates, names, strict=True)]


@pytest.mark.parametrize(
    "key",
    [
        7,
        [],
        {"exp": "soon"},
        {"exp": 1e300},
        {"exp": -1e300},
        {"x5c": []},
        {"x5c": "a"},
        {"x5c": [7]},
        {"x5c": ["*"]},
        {"x5c": ["AAAA"]},
    ],
)
def test_key_of_another_form_has_no_end(store: Store, tmp_path: Path, key: object) -> None:
    """And hides no other one."""
    keys = written(tmp_path / "keys.json", key, {"exp": END.timestamp()})
    assert [end.at for end in ends(store, keys)] == [END]


def test_file_that_cannot_be_read_is_named(store: Store, tmp_path: Path) -> None:
    """Missing, too large, a pipe that would be waited for, or no JSON; a URL is not asked."""
    large, pipe, odd = (tmp_path / name for name in ("large", "pipe", "odd"))
    large.write_bytes(b" " * (MAX_BYTES + 1))
    os.mkfifo(pipe)
    odd.write_text("[1]")
    for path in (large, pipe, odd, tmp_path / "missing"):
        [end] = ends(store, str(path))
        assert (end.at, end.what.startswith(f"key set {path}, which cannot be read: ")) == (None, True)
    assert ends(store, "https://issuer.example/keys") == []
