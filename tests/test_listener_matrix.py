"""Listeners x what the proxy hands over x enforcement, generated: who passes at a listener of each proxy's spelling."""

from __future__ import annotations

from itertools import product

import pytest
from support.certificates import Minted
from support.decision_world import ALICE, BOB, CA, REVOKED, Says, decide, standard_view

from authz.app.config import parse_settings
from authz.app.listeners import listener_of
from authz.decision import Allow
from authz.headers import base64_der, escaped_pem, present, rfc9440
from authz.model import CheckRequest
from authz.view import Listener

Headers = list[tuple[bytes, bytes]]

CERTIFICATES = {
    "envoy": {},
    "nginx": {"form": "escaped-pem", "header": "x-ssl-client-cert"},
    "haproxy": {"form": "base64-der", "header": "x-ssl-client-cert", "none": [""]},
    "haproxy, RFC 9440": {"form": "rfc9440", "header": "client-cert", "none": ["::"]},
    "apache": {"form": "escaped-pem", "header": "ssl-client-cert", "none": ["(null)"]},
    "traefik": {"form": "base64-der", "header": "x-forwarded-tls-client-cert"},
}
STATEMENTS = {
    "envoy": {},
    "nginx": {"form": "nginx-verify"},
    "haproxy": {"form": "sha256", "prefix": "sha256=", "none": ["none"]},
    "haproxy, RFC 9440": {"form": "flag", "presented": ["1"], "none": ["0"]},
    "apache": {"form": "flag", "presented": ["SUCCESS"], "none": ["NONE"]},
    "traefik": {"form": "none"},
}
SHOWN = {"nginx": b"SUCCESS", "haproxy, RFC 9440": b"1", "apache": b"SUCCESS"}
NONE = {"haproxy": b"none", "nginx": b"NONE", "haproxy, RFC 9440": b"0", "apache": b"NONE"}
USERS = {"alice": "required", "oscar": "observe", "olga": "off"}
CASES: dict[str, Minted | None] = {
    "good": ALICE,
    "none": None,
    "another's": BOB,
    "revoked": REVOKED,
    "spoofed beside": REVOKED,
    "spoofed alone": None,
    "of another family": REVOKED,
    "twin": REVOKED,
    "certificate removed": REVOKED,
    "statement removed": REVOKED,
    "both removed": REVOKED,
    "emptied": REVOKED,
    "too large": None,
    "too large, and dropped": None,
}
"""What becomes of a request, and the certificate that its client showed."""


def listener(proxy: str, user: str) -> Listener:
    """The listener of the proxy's settings, for a user who is known by other means."""
    values = {"certificate": CERTIFICATES[proxy], "client_cert_indicator": STATEMENTS[proxy]}
    made = listener_of(parse_settings({"listener": [values]}, origin="test").listener[0])
    return Listener(made.name, (Says(user),), made.header)


def written(proxy: str, shown: Minted | None) -> tuple[Headers, Headers]:
    """The proxy's certificate header and its statement."""
    certificate = CERTIFICATES[proxy]
    header = str(certificate.get("header", "x-forwarded-client-cert")).encode()
    none = [(header, str(value).encode()) for value in certificate.get("none", ())]
    if shown is None:
        stated = NONE.get(proxy, b"sha256=")
    else:
        write = {"escaped-pem": escaped_pem.format, "base64-der": base64_der.format}
        form = str(certificate.get("form", "xfcc"))
        value = rfc9440.format_certificate(shown.der) if form == "rfc9440" else present(shown.der, [])
        none = [(header, write[form]((shown.der,)) if form in write else value)]
        stated = SHOWN.get(proxy, b"sha256=" + shown.sha256.hex().encode())
    return none, [] if proxy == "traefik" else [(b"x-authz-peer", stated)]


def arriving(proxy: str, case: str) -> Headers:
    """What arrives at the listener."""
    certificate, statement = written(proxy, CASES[case])
    ours, (name, _) = written(proxy, ALICE)[0], written(proxy, ALICE)[0][0]
    # HAProxy finds no digest above 16 KiB either; the rest state that there is a certificate.
    too_large = [(b"x-authz-peer", SHOWN.get(proxy, b"sha256="))]
    return {
        "spoofed beside": [*ours, *certificate, *statement],
        "spoofed alone": [*ours, *statement] if statement else [*ours, *ours],
        "of another family": [*certificate, *statement, (b"x-arr-clientcert", b"x")],
        "twin": [*certificate, *statement, (name.replace(b"-", b"_"), ours[0][1])],
        "certificate removed": statement,
        "statement removed": certificate,
        "both removed": [],
        "emptied": [(name, b""), *statement],
        "too large": [*certificate, *too_large],
        "too large, and dropped": too_large,
    }.get(case, [*certificate, *statement])


def may_pass(proxy: str, case: str, user: str) -> bool:
    """The table of the design: without or with another's certificate pass those who need none."""
    if case == "good":
        return True
    if proxy == "traefik" and case in {"certificate removed", "both removed"}:
        return user != "alice"  # what the service warns of at every start
    if proxy in {"envoy", "traefik"} and case.startswith("too large"):
        return user != "alice"  # they have no limit, so that the same headers are those without a certificate
    return case in {"none", "another's"} and user != "alice"


@pytest.mark.parametrize(("proxy", "case"), list(product(CERTIFICATES, CASES)))
def test_listener_lets_pass_whom_the_table_says(proxy: str, case: str) -> None:
    """Whatever the proxy's spelling; a client that removes, empties or adds headers never gains by it."""
    view = standard_view()
    view.intermediates = {1: [CA]}
    for user in USERS:
        check = CheckRequest("id", "acme.example.test", tuple(arriving(proxy, case)))
        decision = decide(check, user, view=view, listener=listener(proxy, user))
        assert isinstance(decision, Allow) is may_pass(proxy, case, user), (user, decision)
