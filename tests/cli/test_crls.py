"""`authz crl list`, `show`, `refresh` and `forecast`, over what a running service tells of its sources."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority, chain_pem
from support.command_world import ALICE, BOB, CA, CRL_LIFE, HOST, LIFE, NOW, ROOT, Run, write
from support.directory import DirectoryStore
from support.raw_der import crl_with_sha1

from authz.admin.audited_store import AuditedStore
from authz.admin.crls import renumber, request_fetch
from authz.crls.disk_store import CrlDiskStore, FetchRecord, copy_name
from authz.directory import CrlStatusTables
from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl
from authz.pki import Certificate, Crl

URL = "http://crl.example.test/ca.crl"
SOURCE = CrlSourceState(URL, CrlSourceKind.POINT, NOW, NOW, NOW, 0, "accepted")
SHA256 = bytes(range(32))
SIGNER = b"k" * 32
CRL = FetchedCrl("a" * 64, URL, SHA256, SIGNER, "CN=CA", "7", False, 3, NOW, NOW + timedelta(hours=5), NOW)


def served(*sources: CrlSourceState, crls: tuple[FetchedCrl, ...] = (CRL,)) -> None:
    """A service reported this."""

    async def write() -> None:
        ledger = CrlStatusTables("sqlite:///test.db", warn=print)
        await ledger.write(sources, crls)
        await ledger.close()

    asyncio.run(write())


def kept(der: bytes) -> None:
    """A service kept this CRL of the CA's."""
    crl, key = Crl(der), Certificate.parse(CA.der).spki_der
    with CrlDiskStore(Path("test.crls")) as keep:
        Path("body").write_bytes(der)
        with Path("body").open("rb") as body:
            name = copy_name(bytes(crl.issuer), key, crl.scope, delta=False)
            keep.put(name, body, FetchRecord(URL, None, None, datetime.now(UTC), key))


def rows(acme: Run, *words: str) -> list[dict[str, object]]:
    """What a list holds."""
    return acme("crl", *words, "--json").data  # type: ignore[return-value]


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
    """As list prints it, and as openssl does."""
    digest = acme("crl", "list", "--json").data[0]["sha256"]  # type: ignore[index]
    for beginning in (digest[:12], bytes.fromhex(digest).hex(":").upper()):
        assert acme("crl", "show", beginning, "--json").data["sha256"] == digest  # type: ignore[index, call-overload]
    assert acme("crl", "show", "zz").code == 1


def pem_of(crl: bytes) -> str:
    """A CRL as CAs publish it, too."""
    return x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM).decode()


def test_users_who_depend_on_a_crl_are_listed(acme: Run) -> None:
    """Those below the CA that signed it, also where the service fetched it."""
    [digest] = [row["sha256"] for row in rows(acme, "list") if row["issuer"] == "CN=CA"]
    done = acme("crl", "dependents", str(digest), "--json")
    [row] = done.data  # type: ignore[misc, attr-defined]
    assert (row["user"], row["stops"]) == ("alice", True)
    assert done.err == "users who depend on it: 1; with another way: 0; without one: 1\n"
    served(SOURCE, crls=(replace(CRL, signer=Certificate.parse(CA.der).plain_spki_sha256),))
    assert acme("crl", "dependents", SHA256.hex(), "--json").data == done.data
    assert acme("crl", "dependents", "ff" * 32).code == 1


def test_crl_whose_number_went_back_is_refused_until_the_one_held_is_removed(acme: Run) -> None:
    """As of a CA that counts anew, or of a replica of it that lags behind (dogtagpki/pki issue 138)."""
    anew = write("anew.crl", CA.crl(number=0, **{**CRL_LIFE, "this_update": NOW}))
    done = acme("crl", "add", anew)
    assert done.code == 1
    [line] = re.findall(r"'authz (crl remove [0-9a-f]{12})'", done.err)
    assert acme(*line.split()).code == 0
    assert acme("crl", "add", anew).code == 0


def test_delta_crl_says_what_it_needs(acme: Run) -> None:
    """It is taken in either order."""
    delta = CA.crl(number=3, extensions=[(x509.DeltaCRLIndicator(2), True)], **{**CRL_LIFE, "this_update": NOW})
    done = acme("crl", "add", write("delta.crl", delta))
    assert done.code == 0
    assert "without the complete CRL of its scope\nhint: add that one too, if it is not held: number 2 or" in done.err


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
        (pem_of(CA.crl(number=2)) * 2, "holds 2 CRLs, not one"),
        ("<html></html>", "neither PEM nor DER"),
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


def test_list_shows_where_each_crl_came_from_and_what_is_left(acme: Run) -> None:
    """Those of the directory and those of sources."""
    served(SOURCE)
    found = rows(acme, "list")
    assert [row["source"] for row in found] == ["added", "added", URL]
    assert (found[2]["number"], found[2]["entries"], found[2]["problem"]) == (7, 3, "")
    assert found[2]["left"] in {"4 h", "5 h"}
    # An hour when the tests began; hours are told from the second on.
    ages = [str(row["age"]).partition(" min") for row in found[:2]]
    assert all(60 <= int(minutes) < 120 for minutes, *_ in ages)


def test_list_shows_what_failed_last(acme: Run) -> None:
    """Beside the CRL that is held all the same, and for a source that has given none."""
    failed = replace(SOURCE, failures=2, outcome="older", detail="it is older")
    other = CrlSourceState("/etc/crls", CrlSourceKind.FILE, failures=1, outcome="file", detail="not there")
    served(failed, other, CrlSourceState("http://new/", CrlSourceKind.URL))
    found = {row["source"]: row["problem"] for row in rows(acme, "list")}
    assert found == {
        "added": "",
        URL: "older: it is older",
        "/etc/crls": "file: not there",
        "http://new/": "not tried yet",
    }


def test_list_says_what_to_do_about_an_expired_crl(acme: Run) -> None:
    """It refuses its issuer's certificates."""
    served(
        SOURCE, crls=(replace(CRL, next_update=NOW - timedelta(minutes=3)), replace(CRL, name="b", next_update=None))
    )
    assert "hint: what is expired" in acme("crl", "list").err
    assert {row["left"] for row in rows(acme, "list")} >= {"expired", "no nextUpdate"}


def test_show_has_the_state_of_the_source(acme: Run) -> None:
    """When it was tried and when it will be."""
    served(SOURCE)
    shown = acme("crl", "show", SHA256.hex()[:10], "--json").data
    assert (shown["failures"], shown["kept_as"]) == (0, "a" * 64)  # type: ignore[index, call-overload]
    served(crls=(CRL,))
    assert "failures" not in acme("crl", "show", SHA256.hex()[:10], "--json").data  # type: ignore[operator]


def test_refresh_without_a_service_says_so(acme: Run) -> None:
    """It asks, and no service answers."""
    served(SOURCE)
    done = acme("crl", "refresh", "CN=CA", "--wait", "0")
    assert (done.code, "hint: is the service running" in done.err) == (1, True)
    assert acme("crl", "refresh", "CN=Nobody").code == 1


@pytest.mark.parametrize(("failures", "code"), [(0, 0), (1, 1)])
def test_refresh_tells_what_came_of_it(acme: Run, monkeypatch: pytest.MonkeyPatch, failures: int, code: int) -> None:
    """The service tries what it is asked to."""
    served(SOURCE)

    def ask(store: DirectoryStore, wanted: str | None, now: datetime) -> list[str]:
        found = request_fetch(store, wanted, now)
        served(replace(SOURCE, tried_at=now, failures=failures, outcome="older" if failures else "unchanged"))
        return found

    monkeypatch.setattr("authz.cli.crls.request_fetch", ask)
    done = acme("crl", "refresh", "--json")
    assert done.code == code
    assert done.data[0]["source"] == URL  # type: ignore[index]


def test_source_whose_ca_counts_anew_is_renumbered(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list says how, where that may be so; the service tries it at once."""
    served(replace(SOURCE, failures=1, outcome="disagrees"))
    assert f"authz crl renumber {URL}" in acme("crl", "list").err
    done = acme("crl", "renumber", URL, "--wait", "0")
    assert (done.code, "were not tried" in done.err) == (1, True)
    assert acme("crl", "renumber", "CN=CA").code == 1
    [entry] = acme("audit", "list", "--object", "crl source", "--json").data  # type: ignore[misc]
    assert entry["object"] == f"crl source {URL}"

    def served_at_once(store: AuditedStore, location: str, now: datetime) -> None:
        renumber(store, location, now)
        served(replace(SOURCE, tried_at=now))

    monkeypatch.setattr("authz.cli.crls.renumber", served_at_once)
    assert acme("crl", "renumber", URL, "--json").data[0]["source"] == URL  # type: ignore[index]


def test_location_in_a_line_to_paste_is_quoted(acme: Run) -> None:
    """It may be of a certificate, whose CA chose it."""
    served(replace(SOURCE, location="http://crl.example.test/$(id);id", failures=1, outcome="disagrees"))
    assert "authz crl renumber 'http://crl.example.test/$(id);id'" in acme("crl", "list").err


def test_refresh_without_sources_says_how_to_have_some(acme: Run) -> None:
    """There is nothing to ask."""
    assert "hint: there are none" in acme("crl", "refresh").err


def test_forecast_names_what_stops_a_certificate_first(acme: Run) -> None:
    """The CRL that expires first, of whatever CA of the path."""
    [row] = rows(acme, "forecast")
    assert (row["user"], row["subject"], row["because"]) == ("alice", "CN=alice", "the CRL of CN=CA expires")
    assert str(row["at"]).startswith(f"{CRL_LIFE['next_update']:%Y-%m-%d}")
    assert rows(acme, "forecast", "--days", "0") == []


@pytest.mark.slow
def test_forecast_knows_registrations_that_end_and_certificates_that_do_not_work(acme: Run) -> None:
    """The first first; one that is over is left out."""
    soon = f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    acme("user", "add", "acme", "bob", "--enforcement", "required")
    added = acme("cert", "add", "acme", write("bob.pem", chain_pem(BOB, CA)), "--user", "bob", "--until", soon)
    assert added.code == 0, added.err
    found = rows(acme, "forecast")
    assert (found[0]["user"], found[0]["because"], len(found)) == ("bob", "its registration ends", 2)
    acme("crl", "add", write("ca2.crl", CA.crl(BOB, number=2, **{**CRL_LIFE, "this_update": NOW})))
    assert "1 do not work now" in acme("crl", "forecast").err
    assert "certificate_revoked" in rows(acme, "forecast")[0]["because"]  # type: ignore[operator]
    acme("cert", "retire", "2")
    assert [row["user"] for row in rows(acme, "forecast")] == ["alice"]


def test_forecast_counts_no_delta_that_is_not_needed(acme: Run) -> None:
    """When it is out of date, the complete CRL still proves what it proved before."""
    soon = {"this_update": NOW, "next_update": NOW + timedelta(minutes=5)}
    delta = CA.crl(number=2, extensions=[(x509.DeltaCRLIndicator(1), True)], **soon)
    assert acme("crl", "add", write("delta.crl", delta)).code == 0
    [row] = rows(acme, "forecast")
    assert str(row["at"]).startswith(f"{CRL_LIFE['next_update']:%Y-%m-%dT%H:%M}")


def test_forecast_counts_the_path_that_lasts_longest(acme: Run) -> None:
    """The certificate of the CA that was sent along ends today; the one that is known to us does not."""
    short = ROOT.intermediate("CA", key=CA.key, not_before=LIFE["not_before"], not_after=NOW + timedelta(hours=1))
    acme("cert", "retire", "1")
    acme("cert", "add", "acme", write("again.pem", chain_pem(ALICE, short)), "--user", "alice")
    [row] = rows(acme, "forecast")
    assert (row["because"], str(row["at"])[:10]) == ("the CRL of CN=CA expires", f"{CRL_LIFE['next_update']:%Y-%m-%d}")


def test_forecast_of_an_organization_without_anchors_says_so(acme: Run) -> None:
    """Nothing of it works."""
    store = DirectoryStore("sqlite:///test.db")
    [anchor] = store.anchors("acme")
    store.remove_anchor("acme", anchor.certificate.sha256)
    store.close()
    assert "trust_anchors_missing" in rows(acme, "forecast")[0]["because"]  # type: ignore[operator]


def test_forecast_counts_the_grace_and_leaves_out_what_passes_softly(
    acme: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the service decides with these settings."""
    monkeypatch.setenv("AUTHZ_CRL__GRACE", "2d")
    assert str(rows(acme, "forecast")[0]["at"]).startswith(f"{NOW + timedelta(days=3):%Y-%m-%d}")
    monkeypatch.setenv("AUTHZ_CRL__UNSAFE_SOFT_FAIL", "true")
    assert "expires" in str(rows(acme, "forecast")[0]["because"])
    assert "CRL" not in str(rows(acme, "forecast")[0]["because"])


def test_forecast_bears_a_crl_that_never_ends(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No grace can be added to the last moment there is; one organization's CRL must not hide everybody's forecast."""
    monkeypatch.setenv("AUTHZ_CRL__GRACE", "2d")
    life = {"this_update": NOW, "next_update": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)}
    kept(CA.crl(number=9, **life))
    assert "CRL of CN=CA" not in str(rows(acme, "forecast", "--days", "9999")[0]["because"])


def test_crls_that_the_service_keeps_count_for_the_command(acme: Run) -> None:
    """A revoked certificate is refused offline too; a copy that cannot be read counts for nothing."""
    kept(CA.crl(ALICE, number=9, **{**CRL_LIFE, "this_update": NOW}))
    Path("test.crls/broken.crl").write_bytes(b"broken")
    assert "certificate_revoked" in acme("check", HOST, "alice", "--cert", "alice.pem").err


UNREADABLE = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
NEWER = {**CRL_LIFE, "this_update": NOW - timedelta(minutes=9), "number": 2}


@pytest.mark.slow
def test_crl_that_proves_no_certificate_good_refuses_what_it_lists_alone(acme: Run) -> None:
    """Bob's certificate is refused, and alice's passes; removed again, it changes nothing any more."""
    acme("user", "add", "acme", "bob")
    acme("cert", "add", "acme", write("bob.pem", chain_pem(BOB, CA)), "--user", "bob")
    evidence = CA.crl(BOB, extensions=UNREADABLE, **NEWER)
    done = acme("crl", "add", write("odd.crl", evidence))
    assert done.code == 0
    assert "it lists the certificate of bob of acme" in done.err
    assert "it has critical extension 1.2.3.4: it shows no certificate to be good and replaces no CRL" in done.err
    assert "only what it lists counts" in str([row["problem"] for row in rows(acme, "list")])
    assert (checked(acme, "alice"), checked(acme, "bob")) == (0, 1)
    removed = acme("crl", "remove", Crl(evidence).sha256.hex()[:16])
    assert "it listed the certificate of bob of acme (registration 2), which passes now" in removed.err
    assert "1 other CRLs of CN=CA are held" in removed.err
    assert (checked(acme, "alice"), checked(acme, "bob")) == (0, 0)


def checked(acme: Run, user: str) -> int:
    """The exit code of a check of the user's own certificate."""
    return acme("check", HOST, user, "--cert", f"{user}.pem").code


@pytest.mark.slow
def test_crl_that_has_expired_replaces_a_current_one_only_anyway(acme: Run) -> None:
    """All certificates of its CA are refused then, until it is removed and the current one added again."""
    expired = CA.crl(**{**NEWER, "next_update": NOW - timedelta(minutes=1)})
    refused = acme("crl", "add", write("old.crl", expired))
    assert refused.code == 1
    assert "--anyway" in refused.err
    assert checked(acme, "alice") == 0
    assert acme("crl", "add", "old.crl", "--anyway").code == 0
    assert checked(acme, "alice") == 1
    assert acme("crl", "add", "ca.crl").code == 1
    removed = acme("crl", "remove", Crl(expired).sha256.hex())
    assert "no other CRL of CN=CA is held: its certificates are refused" in removed.err
    assert acme("crl", "add", "ca.crl").code == 0
    assert checked(acme, "alice") == 0


def test_crl_of_a_source_is_not_removed_by_the_command(acme: Run) -> None:
    """The error names the source."""
    served(SOURCE)
    done = acme("crl", "remove", SHA256.hex()[:10])
    assert (done.code, URL in done.err) == (1, True)
    assert acme("crl", "remove", "").code == 1


def test_crl_of_step_ca_is_explained(acme: Run) -> None:
    """By default it has a distribution point, for users alone, and the certificates name none."""
    url = "https://ca.example.test/1.0/crl"
    point = x509.IssuingDistributionPoint([x509.UniformResourceIdentifier(url)], None, True, False, None, False, False)
    acme("crl", "remove", rows(acme, "list")[1]["sha256"])
    done = acme("crl", "add", write("step.crl", CA.crl(extensions=[(point, True)], **NEWER)))
    assert done.code == 0
    assert f"no certificate known here names its distribution point, {url}" in done.err
    assert "crlDistributionPoints" in done.err
    check = acme("check", HOST, "alice", "--cert", "alice.pem")
    assert f"is for the distribution point {url}, and the certificate names no distribution point" in check.err


def test_crl_with_sha1_is_refused_as_such(acme: Run) -> None:
    """Not as one of an unknown CA."""
    done = acme("crl", "add", write("sha1.crl", crl_with_sha1(CA.crl(**NEWER), CA.key)))  # type: ignore[arg-type]
    assert "signature algorithm 1.2.840.10045.4.1" in done.err
    assert "anchor add" not in done.err


def test_crls_of_two_cas_of_one_name_differ_by_key(acme: Run) -> None:
    """By the key that signed each, which the lists of CAs have, too."""
    other = Authority.root("Root", **LIFE)
    acme("org", "add", "other")
    acme("anchor", "add", "other", write("other.pem", other.pem))
    assert acme("crl", "add", write("other.crl", other.crl(**CRL_LIFE))).code == 0
    signers = {row["signed_by"] for row in rows(acme, "list") if row["issuer"] == "CN=Root"}
    anchors = acme("anchor", "list", "--json").data
    assert signers == {row["key"] for row in anchors}  # type: ignore[attr-defined]
    assert len(signers) == 2
    served(SOURCE)
    assert rows(acme, "list")[-1]["signed_by"] == SIGNER.hex()[:16]


def test_beginning_that_no_digest_or_several_have_removes_none(acme: Run) -> None:
    """The candidates are listed."""
    digests = [str(row["sha256"]) for row in rows(acme, "list")]
    served(SOURCE, crls=(CRL, replace(CRL, name="b" * 64, sha256=bytes([0, 255]) * 16)))
    for beginning, said in (("", "no SHA-256 begins"), ("zz", "no SHA-256 begins"), ("f" * 64, "no CRL has")):
        done = acme("crl", "remove", beginning)
        assert (done.code, said in done.err, "hint:" in done.err) == (1, True, True)
    done = acme("crl", "show", "00")
    assert (done.code, SHA256.hex() in done.err, "00ff" * 16 in done.err) == (1, True, True)
    assert [str(row["sha256"]) for row in rows(acme, "list")][:2] == digests
