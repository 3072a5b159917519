"""`authz anchor` and `authz intermediate`: added, refused, exported."""

from __future__ import annotations

import json
import ssl
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from support.certificates import Authority, chain_pem, new_key
from support.command_world import ALICE, BOB, CA, LIFE, ROOT, Run, write
from support.odd_encodings import LEAVES, respelled


@pytest.mark.slow
def test_anchor_export_writes_what_envoy_watches(acme: Run) -> None:
    """The bundle on stdout or in a file, and the secret; each replaced in one step."""
    assert acme("anchor", "export").out == ROOT.pem
    assert acme("anchor", "export", "--out", "bundle.pem", "--sds", "sds.yaml").code == 0
    assert Path("bundle.pem").read_text() == ROOT.pem
    secret = json.loads(Path("sds.yaml").read_text())["resources"][0]
    assert secret["validation_context"] == {"trusted_ca": {"inline_string": ROOT.pem}, "suppress_client_ca_list": True}
    assert sorted(one.name for one in Path().glob(".*")) == []


def test_anchor_export_of_nothing_is_refused(run: Run) -> None:
    """An empty bundle would let the proxy validate nothing."""
    done = run("anchor", "export", "--out", "bundle.pem")
    assert (done.code, Path("bundle.pem").exists()) == (1, False)


@pytest.mark.parametrize("kind", ["anchor", "intermediate"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (chain_pem(Authority.root("Other", **LIFE), BOB), "which is no CA"),
        (Authority.root("Other", **LIFE).pem + ALICE.key_pem, "private key"),
        (Authority.root("Other", **LIFE).pem + "-----BEGIN CERTIFICATE-----\nAAAA\n", "cannot be read"),
        (Authority.root("Other", key=new_key("rsa1024"), **LIFE).pem, "rsa"),
    ],
)
@pytest.mark.slow
def test_ca_file_that_is_wrong_leaves_nothing_half_written(acme: Run, kind: str, content: str, said: str) -> None:
    """Not even the good certificate in it."""
    before = acme(kind, "list", "--json").data
    done = acme(kind, "add", "acme", write("bad.pem", content))
    assert done.code == 1
    assert said in done.err.lower().replace("no ca", "no CA")
    assert "hint: " in done.err
    assert acme(kind, "list", "--json").data == before


def test_anchor_export_at_request_level_lets_the_proxy_refuse_nothing(run: Run) -> None:
    """It goes to a file, by name; no anchor is needed, because the service alone decides."""
    assert run("anchor", "export", "--sds", "sds.yaml", "--request-level").code == 0
    secret = json.loads(Path("sds.yaml").read_text())["resources"][0]
    assert secret["validation_context"] == {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
    assert run("anchor", "export", "--request-level").code == 2


def test_ca_that_is_not_self_signed_becomes_an_anchor_only_anyway(acme: Run) -> None:
    """With a hint at intermediates, and a warning once it is one."""
    refused = acme("anchor", "add", "acme", "ca.pem")
    assert (refused.code, "authz intermediate add" in refused.err) == (1, True)
    done = acme("anchor", "add", "acme", "ca.pem", "--anyway")
    assert (done.code, "CN=CA is not self-signed: no CRL is asked" in done.err) == (0, True)
    added = acme("cert", "add", "acme", "ca.pem", "--user", "alice")
    assert "add it with 'authz intermediate add'" in added.err


def test_intermediate_that_is_self_signed_is_warned_of(acme: Run) -> None:
    """It is stored, and no path goes through it."""
    done = acme("intermediate", "add", "acme", "root.pem")
    assert (done.code, "CN=Root is self-signed" in done.err) == (0, True)


def test_anchor_that_is_no_der_is_exported_as_it_stands(acme: Run) -> None:
    """Its SHA-256 is that of the file, and the proxy trusts the same bytes; what no rule asks for harms no command."""
    features = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), bytes.fromhex("3003020104"))
    plain = Authority.root("Odd", extensions=[(features, False)], **LIFE)
    odd = respelled(plain.der, plain.key, LEAVES["PrintableString"])  # type: ignore[arg-type]
    pem = ssl.DER_cert_to_PEM_cert(odd)
    for verb, *options in (("anchor", "--anyway"), ("intermediate",)):  # its subject is no longer its issuer's bytes
        assert acme(verb, "add", "acme", write("odd.pem", pem), *options).code == 0
        assert sha256(odd).hexdigest() in acme(verb, "list", "acme", "--json").out
    assert acme("anchor", "export").out == ROOT.pem + pem


def test_ca_is_removed_by_the_beginning_of_its_digest(acme: Run) -> None:
    """The one of the organization that is named, with openssl's colons too; the whole digest is printed."""
    done = acme("anchor", "remove", "acme", ROOT.sha256.hex()[:6].upper(), "--json")
    assert done.data["removed"] == ROOT.sha256.hex()  # type: ignore[index, call-overload]
    done = acme("anchor", "remove", "acme", ROOT.sha256.hex()[:6])
    assert (done.code, "no certificate of acme has" in done.err) == (1, True)
    assert acme("intermediate", "remove", "acme", CA.sha256.hex(":").upper()).code == 0


def test_beginning_of_several_digests_removes_none(acme: Run) -> None:
    """Each is listed whole, at most five of them."""
    cas = [Authority.root(f"R{number}", **LIFE) for number in range(33)]
    assert acme("anchor", "add", "acme", write("many.pem", chain_pem(*cas))).code == 0
    (digit, number), *_ = Counter(ca.sha256.hex()[0] for ca in [ROOT, *cas]).most_common()
    assert number > 1
    done = acme("anchor", "remove", "acme", digit)
    assert (done.code, f"{number} SHA-256 begin with {digit}: {digit}" in done.err) == (1, True)
    assert done.err.count(", ") == min(number, 6) - 1
    assert len(acme("anchor", "list", "acme", "--json").data) == 34  # type: ignore[arg-type]


@pytest.mark.parametrize("beginning", ["", "zz", "0x3f", "f" * 65, "3f 2a", "\u0663", "3f2a…", "sha256:3f"])
def test_what_begins_no_digest_is_wrong_usage(acme: Run, beginning: str) -> None:
    """The message says what one is."""
    done = acme("anchor", "remove", "acme", beginning)
    assert (done.code, "64 hexadecimal digits" in done.err) == (2, True)


@pytest.mark.parametrize("verb", [("dependents",), ("remove", "--dry-run")], ids=["dependents", "dry run"])
@pytest.mark.parametrize(("kind", "ca"), [("anchor", ROOT), ("intermediate", CA)], ids=["anchor", "intermediate"])
def test_users_who_depend_on_a_ca_are_listed_and_it_stays(
    acme: Run, verb: tuple[str, ...], kind: str, ca: Authority
) -> None:
    """With the registration that leads to it, and whether the user stops without it."""
    done = acme(kind, *verb, "acme", ca.sha256.hex(), "--json")
    [row] = done.data  # type: ignore[misc, attr-defined]
    assert (row["user"], row["registration"], row["stops"]) == ("alice", 1, True)
    assert done.err == "users who depend on it: 1; with another way: 0; without one: 1\n"
    assert len(acme(kind, "list", "acme", "--json").data) == 1  # type: ignore[arg-type]
