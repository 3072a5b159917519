"""What the access logs of deploy/ say of refused handshakes, and what a hostile one cannot do."""

from __future__ import annotations

import io
import json
import re

import pytest
from support.command_world import ALICE, NOW
from support.generate_docs import ROOT as REPOSITORY
from support.sightings import add_sighting

from authz.admin.proxy_log import MAX_KEPT, MAX_LINE, MAX_TEXT, ProxyLog, RefusedHandshake, owners_of, remedy
from authz.directory import Store
from authz.pki import Certificate

EXPIRED = (
    "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:"
    "_certificate_verification_error_at_depth_0:_certificate_has_expired:TLS_error_end"
)
ENVOY = {
    "time": "2026-11-29T10:00:00.000Z",
    "event": "handshake_refused",
    "remote": "192.0.2.1",
    "reason": EXPIRED,
    "subject": "CN=alice",
    "certificate": "ab" * 32,
}
NGINX = {
    "time": "2026-11-29T10:00:00+00:00",
    "remote": "192.0.2.1",
    "status": 400,
    "verify": "FAILED:certificate revoked",
}


def read(*lines: object, wanted: set[bytes] | None = None) -> ProxyLog:
    """What is read of those lines, each as JSON unless it is bytes."""
    log = ProxyLog(wanted)
    log.read(
        io.BytesIO(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    )
    return log


def test_handshake_that_envoy_refused_is_read() -> None:
    """With the cause out of what its library says; alike ones are one, with the first and the last."""
    later = {**ENVOY, "time": "2026-11-29T11:00:00.000Z"}
    [refused] = read(ENVOY, later).handshakes()
    assert refused == RefusedHandshake(
        "certificate has expired", "CN=alice", b"\xab" * 32, "192.0.2.1", ENVOY["time"], later["time"], 2
    )


def test_handshake_that_nginx_refused_is_read() -> None:
    """Its log has no certificate; one of a request that nginx let pass is left out."""
    good = [{**NGINX, "verify": verify} for verify in ("SUCCESS", "NONE")]
    [refused] = read(*good, NGINX).handshakes()
    assert (refused.cause, refused.certificate, refused.remote) == ("certificate revoked", None, "192.0.2.1")


def test_shipped_logs_have_the_fields_that_are_read() -> None:
    """Those of deploy/."""
    envoy, nginx = ((REPOSITORY / "deploy" / name).read_text() for name in ("envoy.yaml", "nginx.conf"))
    assert set(ENVOY) == set(re.findall(r"^            (\w+): (?:\"%|handshake)", envoy, re.MULTILINE))
    assert set(NGINX) <= set(re.findall(r'"(\w+)":', nginx))


HOSTILE = {
    "no JSON": b"GET / HTTP/1.1\n",
    "no object": b"[1]\n",
    "deep": b"[" * 60_000 + b"\n",
    "not UTF-8": b"\xff\n",
    "NUL": b"\0\n",
    "too long": b'{"event": "' + b"a" * 3 * MAX_LINE + b'"}\n',
    "too long, without an end": b"a" * 3 * MAX_LINE,
    "number beyond bounds": b'{"event": 1e999999}\n',
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_line_that_is_no_access_log_is_counted(line: bytes) -> None:
    """And what stands around it is read."""
    log = read(ENVOY, b"\n", line if line.endswith(b"\n") else b"", ENVOY, line)
    assert [refused.times for refused in log.handshakes()] == [2]
    assert log.unreadable == 1 + line.endswith(b"\n")


def test_path_of_any_bytes_hides_no_refusal() -> None:
    """What a client asks for stands in nginx's log as it came."""
    line = json.dumps({**NGINX, "uri": "/?"}).encode().replace(b"?", b"\xff") + b"\n"
    assert [refused.cause for refused in read(line).handshakes()] == ["certificate revoked"]


@pytest.mark.parametrize("value", [None, "-", 7, ["a"], {}, "zz" * 32, "ab" * 33])
def test_value_of_another_form_is_nothing(value: object) -> None:
    """Of a certificate, a subject, a time."""
    [refused] = read({**ENVOY, "certificate": value, "time": value if value != "zz" * 32 else 0}).handshakes()
    assert refused.certificate is None


def test_flood_of_handshakes_is_bounded() -> None:
    """The last ones stay, and texts are cut; of one user all are found."""
    flood = [{**ENVOY, "certificate": f"{n:064x}", "subject": "x" * 9_999} for n in range(MAX_KEPT + 5)]
    log = read(ENVOY, *flood)
    assert (len(log.handshakes()), log.forgotten, len(log.handshakes()[0].subject)) == (MAX_KEPT, 6, MAX_TEXT)
    [mine] = read(ENVOY, *flood, wanted={b"\xab" * 32}).handshakes()
    assert mine.subject == "CN=alice"


CAUSES = {
    "certificate has expired": "renew",
    "unable to get local issuer certificate": "anchors",
    "unable to verify the first certificate": "anchors",
    "self-signed certificate": "anchors",
    "certificate revoked": "revoked",
    "certificate is not yet valid": "clocks",
    "unsupported certificate purpose": "for clients",
    "something else": "bundle",
    "CRL has expired": "current CRL",
    "unable to get certificate CRL": "current CRL",
    "EE certificate key too weak": "certify a key",
    "OPENSSL internal:PEER DID NOT RETURN A CERTIFICATE": "without requiring it",
    "OPENSSL internal:SSLV3 ALERT CERTIFICATE EXPIRED": "the client refused it",
    "OPENSSL internal:TLSV1 ALERT UNKNOWN CA": "the client refused it",
}


@pytest.mark.parametrize(("cause", "word"), CAUSES.items())
def test_cause_has_one_thing_to_do(cause: str, word: str) -> None:
    """By what the libraries of both proxies say."""
    assert word in remedy(RefusedHandshake(cause, "CN=alice", None, "", "", "", 1))


def test_client_without_tls_presented_no_certificate() -> None:
    """So none was refused."""
    assert "no certificate" in remedy(RefusedHandshake("WRONG VERSION NUMBER", "", None, "", "", "", 1))


def test_certificate_is_named_by_its_users(store: Store) -> None:
    """Those for whom it is registered, and those seen with it."""
    store.add_user("acme", "bob")
    store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    add_sighting(store, "acme", "bob", NOW, sha256=ALICE.sha256, not_after=NOW)
    with store.reading() as connection:
        assert list(owners_of(connection, ALICE.sha256)) == ["alice of acme", "bob of acme"]
        assert list(owners_of(connection, b"n" * 32)) == []
