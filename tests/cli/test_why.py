"""Why a user, or a request, is refused: every denial of the demonstration, named by one command."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from support.command_world import NOW, Run, authz
from support.decision_world import Says
from support.directory import DirectoryStore
from support.recorded import Anonymous, decide_and_keep
from support.sightings import add_sighting

from authz.app.config import ListenerSettings
from authz.app.listeners import listener_of
from authz.clock import SystemClock
from authz.demo.mint import HOST
from authz.demo.rows import ROWS, Row
from authz.demo.world import World
from authz.headers import present
from authz.model import CheckRequest, Enforcement
from authz.reasons import Gate
from authz.view import IdentitySource

DENIED = [row for row in (row.for_level(request_level=True) for row in ROWS) if row.reason is not None]
ID = "5e7fa3" + "0" * 26

COMMANDS = {
    "required user, registered for no user": f"authz why {ID} --save presented.pem && "
    "authz cert add acme presented.pem --user alice",
    "required user, not yet active": "authz cert set 9 --from none",
    "required user, foreign root": "authz intermediate add acme ca.pem",
    "required user, its CA not sent": "authz intermediate add acme ca.pem",
    "off user, foreign root": "authz intermediate add acme ca.pem",
    "off user, self-signed": "authz cert add acme chain.pem --user olga",
    "off user, revoked": "authz cert add acme chain.pem --user olga",
    "unknown host": "authz org set ORGANIZATION --host unknown.example.test --host EACH_HOST_IT_HAS",
    "unknown user": "authz user add acme mallory",
}
"""What mends a denial in the directory; the others are mended by the client, with what the sentence names."""

KEYS = [
    *("decision", "user", "registrations", "last_presented", "last_refusals", "refused_without_a_user"),
    *("gates", "do", "command"),
]
"""Of the answer in JSON, also where nothing is known of the user."""

PRESENT = "let the client of alice present what registration 1 names (CN=alice, until "


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Its certificates and its directory."""
    return World(tmp_path_factory.mktemp("demonstration")).build()


@pytest.fixture
def world(demonstration: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(demonstration.folder / "authz.db", tmp_path / "test.db")
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///test.db")
    return replace(demonstration, directory="sqlite:///test.db")


def ask(world: World, row: Row, decision_id: str = ID) -> None:
    """The service decides a request of the demonstration, and keeps what it keeps of it."""
    headers = [(b"x-authz-peer", b"sha256=")]
    if row.certificate is not None and not row.ordinary:
        party = world.clients[row.certificate]
        leaf, *chain = (one.public_bytes(Encoding.DER) for one in (party.certificate, *party.chain))
        digest = party.certificate.fingerprint(hashes.SHA256()).hex().encode()
        headers = [(b"x-forwarded-client-cert", present(leaf, chain)), (b"x-authz-peer", b"sha256=" + digest)]
    listener = replace(listener_of(ListenerSettings(name="envoy")), identity=(says(world, row),))
    check = CheckRequest(decision_id, row.host, tuple(headers), "GET", "/")
    asyncio.run(decide_and_keep(check, listener, "sqlite:///test.db"))


def says(world: World, row: Row) -> IdentitySource:
    """The user of the row's token, or what refuses the token."""
    if row.reason is not None and row.reason.gate is Gate.USER and row.reason.status == 401:
        return Anonymous(row.reason)
    confirmation = world.clients["alice"].certificate.fingerprint(hashes.SHA256()) if row.kind == "bound" else None
    return Says(row.user or "", confirmation)


def answer(*words: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    done = authz("why", *words, "--json")
    assert done.code == 0, done.err
    assert isinstance(done.data, dict)
    return done.data


@pytest.mark.slow
@pytest.mark.parametrize("row", DENIED, ids=lambda row: row.what)
def test_denial_of_the_demonstration_is_named_by_one_command(world: World, row: Row) -> None:
    """The reason, every gate as far as the request got, and the one thing to do; by its id, or by the user's name.

    Whose a refused token was is not kept: such a refusal is shown to every user of the organization.
    """
    ask(world, row)
    seen = answer(ID[:6])
    assert row.reason is not None
    assert list(seen) == KEYS
    assert seen["decision"][0]["reason"] == row.reason
    assert seen["command"] == COMMANDS.get(row.what, "")
    assert seen["do"]
    names_own = row.user == "alice" and row.certificate in {None, "bob", "expired", "revoked", "withdrawn"}
    if names_own and not row.kind:
        assert seen["do"].startswith(PRESENT)
    if row.certificate == "retired":
        assert PRESENT in seen["do"]
    if row.reason.status == 403 and row.reason.gate is not Gate.ORGANIZATION:
        assert "denied" in [gate["outcome"] for gate in seen["gates"]]
    if row.user == "alice" and row.host == HOST:
        by_name = answer("acme", "alice")
        assert by_name["do"].endswith(seen["do"])
        assert by_name["command"] == seen["command"]
        assert [one["reason"] for one in by_name["last_refusals"] + by_name["refused_without_a_user"]] == [row.reason]


@pytest.mark.slow
def test_saved_certificates_can_be_registered(world: World) -> None:
    """The command that mends it works as it stands."""
    [row] = (row for row in DENIED if row.what == "required user, registered for no user")
    ask(world, row)
    for command in answer(ID)["command"].split(" && "):
        assert authz(*command.split()[1:]).code == 0
    saved = x509.load_pem_x509_certificates(Path("presented.pem").read_bytes())
    assert saved[0] == world.clients["stranger"].certificate
    assert answer(ID)["do"] == "nothing: it would be allowed now"


@pytest.mark.parametrize("row", [row for row in DENIED if row.what == "no token"], ids=["no token"])
@pytest.mark.slow
def test_request_without_certificates_saves_none(world: World, row: Row) -> None:
    """No file is written, and the command fails."""
    ask(world, row)
    assert authz("why", ID, "--save", "presented.pem").code == 1
    assert not Path("presented.pem").exists()


def test_observed_user_learns_what_required_would_refuse(world: World) -> None:
    """The request was allowed; the sentence is that of the refusal to come."""
    [row] = (row for row in ROWS if row.user == "oscar")
    ask(world, row)
    seen = answer("acme", "oscar")
    assert seen["command"] == "authz cert add acme chain.pem --user oscar"
    assert "is bob's (registration 2)" in seen["do"]


@pytest.mark.slow
def test_user_without_refusals_is_decided_with_the_registered_certificate(world: World) -> None:
    """Every gate is shown, and nothing is to do; once the CA's CRL has gone, that is what refuses."""
    seen = answer("acme", "alice")
    assert seen["do"].startswith("nothing:")
    assert [gate["outcome"] for gate in seen["gates"]][-1] == "passed"
    store = DirectoryStore("sqlite:///test.db")
    for crl in store.crls():
        store.remove_crl(crl.crl.sha256)
    store.close()
    assert "CRL" in answer("acme", "alice")["do"]


def test_user_without_any_registration_needs_one(world: World) -> None:
    """Whatever was recorded."""
    authz("user", "add", "acme", "new", "--enforcement", "required")
    assert answer("acme", "new")["command"] == "authz cert add acme chain.pem --user new"
    authz("user", "set", "acme", "new", "--enforcement", str(Enforcement.OFF))
    assert answer("acme", "new")["command"] == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "command"),
    [
        (("user", "set", "acme", "alice"), "authz user set acme alice --on"),
        (("org", "set", "acme"), "authz org set acme --on"),
    ],
    ids=["user", "organization"],
)
def test_what_is_switched_off_is_switched_on(world: World, change: tuple[str, ...], command: str) -> None:
    """Before anything else is said; and the command does it."""
    assert authz(*change, "--off").code == 0
    assert answer("acme", "alice")["command"] == command
    assert authz(*command.split()[1:]).code == 0
    assert answer("acme", "alice")["command"] == ""


@pytest.mark.slow
def test_command_for_a_name_that_begins_like_an_option_can_be_pasted(world: World) -> None:
    """As an issuer's random ids may."""
    assert "'authz user add -- acme -x'" in authz("why", "--", "acme", "-x").err
    for words in ("user add -- acme -x", "user set --off -- acme -x"):
        assert authz(*words.split()).code == 0
    command = json.loads(authz("why", "--json", "--", "acme", "-x").out)["command"]
    assert authz(*command.split()[1:]).code == 0
    assert authz("user", "show", "--json", "--", "acme", "-x").data["active"]  # type: ignore[index]


def test_table_ends_with_what_to_do(world: World) -> None:
    """Sections that are empty are left out; the command is a hint."""
    authz("user", "set", "acme", "olga", "--off")
    done = authz("why", "acme", "olga")
    assert done.err.splitlines() == [
        "user:",
        "gates:",
        "what to do: switch olga on",
        "hint: authz user set acme olga --on",
    ]


@pytest.mark.parametrize("words", [("a", "b", "c"), ("acme", "alice", "--save", "file")], ids=["three", "save"])
def test_other_words_are_a_usage_error(run: Run, words: tuple[str, ...]) -> None:
    """An organization and a user, or a decision."""
    assert run("why", *words).code == 2


@pytest.mark.parametrize("words", [("acme", "nemo"), ("nowhere", "alice"), ("ff",)], ids=" ".join)
def test_unknown_name_is_an_error_with_advice(world: World, words: tuple[str, ...]) -> None:
    """What would add it, or list it."""
    done = authz("why", *words)
    assert (done.code, "hint: " in done.err) == (1, True)


@pytest.mark.slow
def test_allowed_request_is_explained_as_well(world: World) -> None:
    """Where the history keeps it: what it passed with, and what refuses it now, if anything does."""
    [row] = (row for row in ROWS if row.what == "required user, right certificate")
    ask(world, row)
    seen = answer(ID)
    assert (seen["decision"][0]["outcome"], seen["do"]) == ("allowed", "nothing: it would be allowed now")
    assert answer("acme", "alice")["last_refusals"] == []
    assert "nothing is different" in authz("check", "--replay", ID).err
    assert authz("user", "set", "acme", "alice", "--off").code == 0
    assert answer(ID)["command"] == "authz user set acme alice --on"


def test_refusal_is_named_although_another_certificate_passed_since(world: World) -> None:
    """Of two clients of a user one may be refused for good."""
    store = DirectoryStore("sqlite:///test.db")
    [row] = (row for row in ROWS if row.what == "required user, no certificate")
    ask(world, row)
    later = SystemClock().now() + timedelta(minutes=1)
    add_sighting(store, "acme", "alice", later, not_after=NOW + timedelta(days=9), matched="certificate")
    store.close()
    said = answer("acme", "alice")["do"]
    assert said.startswith("alice passed since, with a certificate; ")
    assert PRESENT in said


def test_request_for_an_organization_that_is_off_names_it(world: World) -> None:
    """It is known by the host alone; once it is on, nothing more is known, for the token was not kept."""
    [row] = (row for row in ROWS if row.what == "required user, right certificate")
    assert authz("org", "set", "acme", "--off").code == 0
    ask(world, row)
    seen = answer(ID)
    assert (seen["do"], seen["command"]) == ("switch acme on", "authz org set acme --on")
    assert authz(*seen["command"].split()[1:]).code == 0
    seen = answer(ID)
    assert (seen["do"], seen["command"]) == (
        "nothing more is known: organization_inactive refuses it no longer, and its token was not kept",
        "",
    )
    assert [gate["outcome"] for gate in seen["gates"]] == ["passed"]


def test_header_that_is_refused_at_the_hosts_of_an_organization_is_shown_to_its_users(world: World) -> None:
    """Organization and user were not looked for; another host's is not shown."""
    for number, host in enumerate(("other.example.test", "no host", HOST)):
        check = CheckRequest(f"{number:032x}", host, ((b"ssl-client-cert", b"1"),), "GET", "/")
        listener = replace(listener_of(ListenerSettings(name=f"envoy{number}")), identity=(Says("alice"),))
        asyncio.run(decide_and_keep(check, listener, "sqlite:///test.db"))
    seen = answer("acme", "alice")
    assert [one["reason"] for one in seen["refused_without_a_user"]] == ["header_unexpected"]
    assert "let the proxy remove it (ssl-client-cert is not this listener's)" in seen["do"]


def test_refusal_without_a_user_that_came_later_is_named_beside_the_users_own(world: World) -> None:
    """An expired token may be what the user complains of."""
    own, other = (row for row in ROWS if row.what in {"required user, no certificate", "expired token"})
    ask(world, own)
    ask(world, other, "6" * 32)
    assert answer("acme", "alice")["do"].endswith("; later a request without a user was refused (token_expired)")


def test_user_with_a_registered_key_or_name_needs_no_other_registration(world: World) -> None:
    """Without a refusal nothing is known of it; with one, the client presents what is registered."""
    assert authz("org", "set", "acme", "--binding-kinds", "certificate,key,identity").code == 0
    anchor = authz("anchor", "list", "acme", "--json").data[0]["sha256"]  # type: ignore[index]
    assert authz("user", "add", "acme", "idy", "--enforcement", "required").code == 0
    named = ("--kind", "identity", "--name", "dns:idy.example", "--anchor", anchor)
    assert authz("cert", "add", "acme", "--user", "idy", *named).code == 0
    assert answer("acme", "idy")["do"].startswith("nothing: no gate refuses idy")
    [row] = (row for row in ROWS if row.what == "required user, no certificate")
    ask(world, replace(row, user="idy"))
    seen = answer("acme", "idy")
    assert seen["do"].endswith("what registration 10 names (a certificate with the name dns:idy.example)")
    assert seen["command"] == ""
    assert authz("anchor", "remove", "acme", anchor).code == 0
    assert answer("acme", "idy")["command"] == "authz cert add acme chain.pem --user idy"


def test_user_with_a_registered_key_is_decided_with_its_certificate(world: World) -> None:
    """It is the one by which the key was registered."""
    assert authz("org", "set", "acme", "--binding-kinds", "key").code == 0
    leaf, *chain = (world.clients["stranger"].certificate, *world.clients["stranger"].chain)
    Path("kay.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, *chain)))
    assert authz("user", "add", "acme", "kay", "--enforcement", "required").code == 0
    assert answer("acme", "kay")["command"] == "authz cert add acme chain.pem --user kay --kind key"
    assert authz("cert", "add", "acme", "kay.pem", "--user", "kay", "--kind", "key").code == 0
    seen = answer("acme", "kay")
    assert seen["do"].startswith("nothing: no gate refuses kay")
    assert seen["gates"][-1]["saw"].startswith("registration 10 of kind key")


def test_organization_without_hosts_is_reached_by_no_request(world: World) -> None:
    """Whatever its users have."""
    assert authz("org", "add", "globex corp").code == 0
    assert authz("user", "add", "globex corp", "alice").code == 0
    assert answer("globex corp", "alice")["command"] == "authz org set 'globex corp' --host HOST"


def test_refusal_at_a_listener_that_is_gone_names_what_the_user_has(world: World) -> None:
    """It cannot be decided again, but what is registered can be looked at."""
    [row] = (row for row in ROWS if row.what == "required user, no certificate")
    listener = replace(listener_of(ListenerSettings(name="gone")), identity=(says(world, row),))
    check = CheckRequest(ID, row.host, ((b"x-authz-peer", b"sha256="),), "GET", "/")
    asyncio.run(decide_and_keep(check, listener, "sqlite:///test.db"))
    assert answer("acme", "alice")["do"].startswith(PRESENT)
    assert answer(ID)["do"].startswith(PRESENT)
