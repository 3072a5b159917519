"""The command from end to end: an organization is set up, a request decided, a certificate retired, a CRL published."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority, Minted, chain_pem, new_key
from support.command_world import ALICE, BOB, CA, CRL_LIFE, HOST, LIFE, NOW, ROOT, Run, write
from support.odd_encodings import LEAVES, respelled
from typer.core import TyperGroup
from typer.main import get_command

from authz.cli import app


def test_check_allowed_shows_every_gate_and_exits_zero(acme: Run) -> None:
    """Subject, serial, SHA-256, where found, which CRL."""
    done = acme("check", HOST, "alice", "--cert", "alice.pem")
    assert done.code == 0, done.err
    for seen in ("CN=alice", ALICE.sha256.hex(), "known intermediate", "trust anchor", "CRL 1 of CN=CA", "laptop"):
        assert seen in done.out


def test_check_denied_says_why_and_exits_one(acme: Run) -> None:
    """The reason, and what to do about it."""
    done = acme("check", HOST, "alice")
    assert done.code == 1
    assert "certificate_required" in done.err
    assert "hint:" in done.err


def test_check_denied_names_the_certificate_at_fault(acme: Run) -> None:
    """An expired one by its subject and date."""
    done = acme("check", HOST, "alice", "--cert", "alice.pem", "--at", (NOW + timedelta(days=60)).isoformat())
    assert done.code == 1
    assert "certificate_expired" in done.err
    assert "CN=alice" in done.out


def test_check_as_json_has_a_row_a_gate(acme: Run) -> None:
    """For programs."""
    gates = [row["gate"] for row in acme("check", HOST, "alice", "--cert", "alice.pem", "--json").data]  # type: ignore[attr-defined]
    assert gates == ["organization", "user", "header", *["certificate"] * 3, *["revocation"] * 2, "binding"]


def test_certificate_retired_is_denied(acme: Run) -> None:
    """From that moment on."""
    assert acme("cert", "retire", "1").code == 0
    done = acme("check", HOST, "alice", "--cert", "alice.pem")
    assert (done.code, "certificate_registration_inactive" in done.err) == (1, True)


def test_crl_that_lists_a_registered_certificate_says_whose(acme: Run) -> None:
    """And the next check refuses it."""
    newer = {**CRL_LIFE, "this_update": NOW}
    done = acme("crl", "add", write("ca2.crl", CA.crl(ALICE, number=2, **newer)))
    assert "alice of acme" in done.err
    assert "certificate_revoked" in acme("check", HOST, "alice", "--cert", "alice.pem").err


def test_crl_older_is_refused_and_the_newer_stays(acme: Run) -> None:
    """Nothing goes back."""
    done = acme(
        "crl", "add", write("old.crl", CA.crl(number=0, **{**CRL_LIFE, "this_update": NOW - timedelta(days=1)}))
    )
    assert done.code == 1
    assert "not newer" in done.err
    assert [row["number"] for row in acme("crl", "list", "--json").data] == [1, 1]  # type: ignore[attr-defined]


def test_crl_show_takes_the_beginning_of_a_digest(acme: Run) -> None:
    """As list prints it."""
    digest = acme("crl", "list", "--json").data[0]["sha256"]  # type: ignore[index]
    assert acme("crl", "show", digest[:12], "--json").data["sha256"] == digest  # type: ignore[index, call-overload]
    assert acme("crl", "show", "zz").code == 1


LISTS = [
    ("org", "list"),
    ("anchor", "list"),
    ("intermediate", "list"),
    ("user", "list", "acme"),
    ("cert", "list"),
    ("crl", "list"),
]


@pytest.mark.parametrize("verb", LISTS, ids=lambda verb: verb[0])
def test_list_prints_a_table_or_json(acme: Run, verb: tuple[str, ...]) -> None:
    """Data on stdout, and nothing else."""
    assert acme(*verb).out.strip()
    rows = acme(*verb, "--json").data
    assert isinstance(rows, list)
    assert rows


@pytest.mark.parametrize("verb", [("org", "show", "acme"), ("user", "show", "acme", "alice"), ("cert", "show", "1")])
def test_show_prints_one_thing(acme: Run, verb: tuple[str, ...]) -> None:
    """A line a key, or an object."""
    assert acme(*verb).out.strip()
    assert isinstance(acme(*verb, "--json").data, dict)


def test_set_changes_what_is_given_only(acme: Run) -> None:
    """Of organizations and users."""
    acme("org", "set", "acme", "--binding-scope", "organization", "--issuer", "https://id")
    held = acme("org", "set", "acme", "--off", "--json").data
    assert isinstance(held, dict)
    assert (held["binding_scope"], held["issuer"], held["active"], held["hosts"]) == (
        "organization",
        "https://id",
        False,
        [HOST],
    )
    assert acme("org", "set", "acme", "--issuer", "", "--json").data["issuer"] is None  # type: ignore[index, call-overload]
    assert acme("user", "set", "acme", "alice", "--enforcement", "observe", "--json").data["enforcement"] == "observe"  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--keys", "jwks.json", "--issuer", "https://id"), "--issuer and --audience beside --keys"),
        (("--organization-claim", "org"), "give --issuer, too"),
        (("--keys", "jwks.json", "--issuer", "https://id", "--audience", "a", "--organization-claim", "org"), ""),
    ],
)
def test_token_settings_that_are_not_whole_are_told(acme: Run, options: tuple[str, ...], said: str) -> None:
    """When they are set, not when the first user is refused."""
    err = acme("org", "set", "acme", *options).err
    assert said in err
    assert ("hint:" in err) is bool(said)


def test_second_tenant_with_the_same_issuer_and_audience_is_refused_whole(acme: Run) -> None:
    """Its tokens would name the first one's users; it is not there afterwards."""
    same = ("--issuer", "https://id", "--audience", "api")
    assert acme("org", "set", "acme", *same).code == 0
    done = acme("org", "add", "evil", "--host", "evil.example.test", *same)
    assert (done.code, "could name a user" in done.err, "hint:" in done.err) == (1, True, True)
    assert [row["name"] for row in acme("org", "list", "--json").data] == ["acme"]  # type: ignore[attr-defined]


def test_remove_takes_things_away(acme: Run) -> None:
    """Each verb of its own."""
    digest = acme("anchor", "list", "--json").data[0]["sha256"]  # type: ignore[index]
    known = acme("intermediate", "list", "--json").data[0]["sha256"]  # type: ignore[index]
    for verb in (
        ("anchor", "remove", "acme", digest),
        ("intermediate", "remove", "acme", known),
        ("user", "remove", "acme", "alice"),
        ("org", "remove", "acme"),
    ):
        assert acme(*verb).code == 0
    assert acme("org", "list", "--json").data == []


def test_anchor_export_writes_what_envoy_watches(acme: Run) -> None:
    """The bundle on stdout or in a file, and the secret; each replaced in one step."""
    assert acme("anchor", "export").out == ROOT.pem
    assert acme("anchor", "export", "--out", "bundle.pem", "--sds", "sds.yaml").code == 0
    assert Path("bundle.pem").read_text() == ROOT.pem
    secret = json.loads(Path("sds.yaml").read_text())["resources"][0]
    assert secret["validation_context"] == {"trusted_ca": {"inline_string": ROOT.pem}, "suppress_client_ca_list": True}
    assert sorted(one.name for one in Path().glob(".*")) == []


def test_anchor_that_is_no_der_is_exported_as_it_stands(acme: Run) -> None:
    """Its SHA-256 is that of the file, and the proxy trusts the same bytes; what no rule asks for harms no command."""
    features = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), bytes.fromhex("3003020104"))
    plain = Authority.root("Odd", extensions=[(features, False)], **LIFE)
    odd = respelled(plain.der, plain.key, LEAVES["PrintableString"])  # type: ignore[arg-type]
    pem = ssl.DER_cert_to_PEM_cert(odd)
    for verb in ("anchor", "intermediate"):
        assert acme(verb, "add", "acme", write("odd.pem", pem)).code == 0
        assert sha256(odd).hexdigest() in acme(verb, "list", "acme", "--json").out
    assert acme("anchor", "export").out == ROOT.pem + pem


def test_anchor_export_of_nothing_is_refused(run: Run) -> None:
    """An empty bundle would let the proxy validate nothing."""
    done = run("anchor", "export", "--out", "bundle.pem")
    assert (done.code, Path("bundle.pem").exists()) == (1, False)


def test_leaf_registered_elsewhere_is_reported(acme: Run) -> None:
    """Not refused."""
    acme("org", "add", "other")
    acme("user", "add", "other", "alice")
    done = acme("cert", "add", "other", "alice.pem", "--user", "alice")
    assert done.code == 0
    assert "registered in acme too" in done.err
    assert "does not verify now" in done.err


def key_and(one: Minted) -> str:
    """A careless file."""
    return one.key_pem + one.pem


SELF_SIGNED = Authority.root("selfish", **LIFE)
EXPIRED = CA.leaf("old", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (key_and(ALICE), "private key"),
        ("", "empty"),
        ("nonsense", "cannot be read"),
        (ALICE.pem.replace("CERTIFICATE", "PUBLIC KEY"), "PUBLIC KEY"),
        (ALICE.pem + ALICE.pem[:200], "cannot be read"),
        (chain_pem(ALICE, BOB), "2 certificates of users"),
        (chain_pem(ROOT, CA), "no certificate of a user"),
        (CA.pem, "CA certificate"),
        (SELF_SIGNED.pem, "CA certificate"),
        (EXPIRED.pem, "expired"),
        (chain_pem(BOB, *(Authority.root(f"R{number}", **LIFE) for number in range(10))), "11 certificates"),
        ("x" * (1024 * 1024 + 1), "larger"),
    ],
)
def test_certificate_file_that_is_wrong_is_refused_with_a_sentence(acme: Run, content: str, said: str) -> None:
    """And nothing is registered."""
    before = acme("cert", "list", "--json").data
    done = acme("cert", "add", "acme", write("bad.pem", content), "--user", "alice")
    assert done.code == 1
    assert said in done.err
    assert "hint: " in done.err
    assert "Traceback" not in done.err
    assert acme("cert", "list", "--json").data == before


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
def test_ca_file_that_is_wrong_leaves_nothing_half_written(acme: Run, kind: str, content: str, said: str) -> None:
    """Not even the good certificate in it."""
    before = acme(kind, "list", "--json").data
    done = acme(kind, "add", "acme", write("bad.pem", content))
    assert done.code == 1
    assert said in done.err.lower().replace("no ca", "no CA")
    assert "hint: " in done.err
    assert acme(kind, "list", "--json").data == before


def pem_of(crl: bytes) -> str:
    """A CRL as CAs publish it, too."""
    return x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM).decode()


def test_crl_in_pem_is_taken_with_text_before_it(acme: Run) -> None:
    """As `openssl crl -text` writes it."""
    newer = {**CRL_LIFE, "this_update": NOW}
    done = acme("crl", "add", write("ca2.crl", "Certificate Revocation List\n" + pem_of(CA.crl(number=2, **newer))))
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pem_of(CA.crl(number=2)) + ALICE.key_pem, "private key"),
        (ALICE.pem, "holds a CERTIFICATE"),
        (pem_of(CA.crl(number=2)) * 2, "not one CRL"),
        (pem_of(CA.crl(number=2))[:200], "is not a CRL"),
        (b"\x30\x03\x02\x01\x00", "is not a CRL"),
        (Authority.root("Other", **LIFE).crl(**CRL_LIFE), "no known CA"),
        ("", "empty"),
    ],
)
def test_crl_file_that_is_wrong_is_refused_with_a_sentence(acme: Run, content: str | bytes, said: str) -> None:
    """And the CRLs held stay."""
    before = acme("crl", "list", "--json").data
    done = acme("crl", "add", write("bad.crl", content))
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "hint: " in done.err
    held = [row["sha256"] for row in acme("crl", "list", "--json").data]  # type: ignore[attr-defined]
    assert held == [row["sha256"] for row in before]  # type: ignore[attr-defined]


def test_chain_in_any_order_finds_the_leaf(acme: Run) -> None:
    """Intermediate first, leaf last."""
    acme("user", "add", "acme", "bob")
    done = acme("cert", "add", "acme", write("bob.pem", chain_pem(CA, BOB)), "--user", "bob", "--json")
    assert done.data["sha256"] == BOB.sha256.hex()  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    "arguments",
    [
        ("org", "add"),
        ("nonsense",),
        ("anchor", "add", "x.pem"),
        ("anchor", "add", "--shared", "a", "b"),
        ("anchor", "remove", "acme", "zz"),
        ("user", "add", "acme", "x", "--enforcement", "maybe"),
        ("cert", "retire", "x"),
        ("check", "h", "u", "--at", "yesterday"),
    ],
)
def test_words_that_are_wrong_exit_two(run: Run, arguments: tuple[str, ...]) -> None:
    """Usage is told apart from failure."""
    assert run(*arguments).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "add", "nobody", "x"),
        ("org", "show", "nobody"),
        ("cert", "show", "9"),
        ("anchor", "add", "nobody", "root.pem"),
        ("anchor", "add", "acme", "alice.pem"),
        ("crl", "add", "alice.pem"),
        ("crl", "add", "missing.crl"),
        ("cert", "add", "acme", "missing.pem", "--user", "alice"),
        ("org", "add", "acme"),
        ("user", "add", "acme", "alice"),
        ("cert", "add", "acme", "alice.pem", "--user", "alice"),
        ("cert", "add", "acme", "alice.pem", "--user", ""),
        ("org", "add", "other", "--host", HOST),
        ("org", "set", "acme", "--host", "not a host"),
        ("anchor", "export", "--out", "no/such/folder/bundle.pem"),
        ("crl", "add", "ca.crl"),
    ],
)
def test_failure_exits_one_with_a_sentence_and_no_traceback(acme: Run, arguments: tuple[str, ...]) -> None:
    """Unknown names, wrong files, duplicates."""
    done = acme(*arguments)
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("authz: ")
    assert "hint: " in done.err
    assert "Traceback" not in done.err


def test_names_in_certificates_cannot_draw_on_the_terminal(acme: Run) -> None:
    """Controls and markup of a hostile subject are shown, not obeyed."""
    hostile = CA.leaf("x\x1b[31m[red]y\u202e", **LIFE)
    acme("cert", "add", "acme", write("hostile.pem", hostile.pem), "--user", "alice")
    for options in ((), ("--json",)):
        out = acme("cert", "list", *options).out
        assert "\x1b" not in out
        assert "\u202e" not in out
    assert "[red]" in acme("cert", "list").out


def test_type_of_tokens_is_kept_as_it_is_compared(run: Run) -> None:
    """In one spelling; the hint says what it takes to see one, and an empty text takes it away."""
    done = run("org", "add", "acme", "--token-type", "application/AT+jwt", "--json")
    assert done.data["token_type"] == "at+jwt"  # type: ignore[index, call-overload]
    assert "--keys" in done.err
    assert run("org", "set", "acme", "--token-type", "text/at+jwt").code == 2
    for options, kept in ((("--issuer", "i"), "at+jwt"), (("--token-type", ""), None)):
        assert run("org", "set", "acme", *options, "--json").data["token_type"] == kept  # type: ignore[index, call-overload]


def test_certificate_is_registered_for_nobody_by_its_common_name(acme: Run) -> None:
    """No name in a certificate says whose it is: without --user the command registers nothing."""
    before = acme("cert", "list", "--json").data
    done = acme("cert", "add", "acme", write("again.pem", chain_pem(CA.leaf("alice", **LIFE), CA)))
    assert (done.code, done.out) == (2, "")
    assert "--user" in done.err
    assert acme("cert", "list", "--json").data == before


def test_version_and_help_are_told(run: Run) -> None:
    """The first things anybody asks for."""
    assert run("--version").out.startswith("authz ")
    assert "Example" in run("cert", "add", "--help").out


def test_config_file_names_the_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no variable does; a wrong file is an error."""
    monkeypatch.delenv("AUTHZ_DATABASE")
    write("authz.toml", 'database = "sqlite:///other.db"')
    assert run("--config", "authz.toml", "org", "add", "acme").code == 0
    assert Path("other.db").exists()
    write("bad.toml", "nonsense = 1")
    assert run("--config", "bad.toml", "org", "list").code == 1


def test_anchor_export_at_request_level_lets_the_proxy_refuse_nothing(run: Run) -> None:
    """It goes to a file, by name; no anchor is needed, because the service alone decides."""
    assert run("anchor", "export", "--sds", "sds.yaml", "--request-level").code == 0
    secret = json.loads(Path("sds.yaml").read_text())["resources"][0]
    assert secret["validation_context"] == {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
    assert run("anchor", "export", "--request-level").code == 2


def verbs() -> list[tuple[str, ...]]:
    """Every verb there is."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    found: list[tuple[str, ...]] = []
    for name, command in root.commands.items():
        found += [(name, verb) for verb in command.commands] if isinstance(command, TyperGroup) else [(name,)]
    return found


# What runs until it is stopped prints nothing but its log, which is JSON already.
RUNNING = {("serve",)}


@pytest.mark.parametrize("verb", sorted(set(verbs()) - RUNNING), ids=" ".join)
def test_every_verb_has_json(run: Run, verb: tuple[str, ...]) -> None:
    """Where it prints data."""
    assert "--json" in run(*verb, "--help").out
    assert run(*verb, "--json", "--no-such-option").code == 2


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_shows_an_example_of_itself(run: Run, verb: tuple[str, ...]) -> None:
    """One that can be typed: its options are there."""
    told = " ".join(run(*verb, "--help").out.split())
    (example,) = re.findall(r"Example: (authz .*?)(?: \(|,|\.? ?$|\. )", told)
    words = example.split()
    assert words[: len(verb) + 1] == ["authz", *verb] or words[:3] == ["authz", "--config", "authz.toml"]
    assert all(word in told.partition("Example:")[0] for word in words[len(verb) + 1 :] if word.startswith("--"))


CHANGES = [
    ("org", "set", "acme", "--binding-scope", "user"),
    ("org", "add", "other"),
    ("anchor", "add", "--shared", "root.pem"),
    ("intermediate", "add", "acme", "ca.pem"),
    ("anchor", "export", "--out", "bundle.pem"),
    ("anchor", "export", "--sds", "sds.yaml", "--request-level"),
    ("anchor", "remove", "acme", ROOT.sha256.hex()),
    ("intermediate", "remove", "acme", CA.sha256.hex()),
    ("cert", "retire", "1"),
    ("user", "add", "acme", "bob"),
    ("user", "remove", "acme", "alice"),
    ("org", "remove", "acme"),
]


@pytest.mark.parametrize("verb", CHANGES, ids=lambda verb: " ".join(verb[:3]))
def test_change_as_json_prints_one_document(acme: Run, verb: tuple[str, ...]) -> None:
    """What was changed, and nothing else on stdout."""
    done = acme(*verb, "--json")
    assert done.code == 0, done.err
    assert done.data


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("authz ", "decisions"), ("authz org ", "add"), ("authz user add acme x --enf", "--enforcement")],
)
@pytest.mark.slow
def test_shell_completes_words(typed: str, offered: str) -> None:
    """As bash asks, once `authz --install-completion` was run."""
    words = typed.split(" ")
    environment = {
        **os.environ,
        "_AUTHZ_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [Path(sys.executable).parent / "authz"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert offered in done.stdout.split(), done.stderr
