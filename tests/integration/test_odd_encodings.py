"""Leaves that are not quite DER, through a real Envoy and nginx; and that openssl reads the whole table."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.nginx_stage import NginxStage
from support.odd_encodings import CERTIFICATES, CRLS, LEAVES, RSA_KEY, WITHOUT_NULL, respelled

from authz.demo import Stage
from authz.demo.mint import write_secret
from authz.demo.rows import Row
from authz.reasons import Reason

ENVOY_REFUSES = {WITHOUT_NULL, "policy with an umlaut"}
"""What BoringSSL does not read ends in the handshake."""


def outcome(stage: Stage, name: str) -> str:
    """The reason in the service's log for a stranger whose certificate is spelled so; "alert" from the proxy."""
    folder = stage.world.folder
    stranger, issuing = stage.world.clients["stranger"], stage.world.authorities["issuing"]
    key = RSA_KEY if name == WITHOUT_NULL else stranger.key
    der = respelled(stranger.certificate.public_bytes(Encoding.DER), issuing.key, LEAVES[name])
    file = f"odd-{list(LEAVES).index(name)}"
    chain = [ssl.DER_cert_to_PEM_cert(der), *(ca.public_bytes(Encoding.PEM).decode() for ca in stranger.chain)]
    (folder / f"{file}.pem").write_text("".join(chain), encoding="ascii")
    write_secret(folder / f"{file}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    answer, reason = stage.ask(Row("", "alice", file, 403, Reason.CERTIFICATE_NOT_REGISTERED))
    return reason or ("alert" if answer.alert else str(answer.status))


@pytest.mark.nginx
@pytest.mark.parametrize("name", LEAVES)
def test_leaf_that_nginx_hands_on_is_read(nginx_stage: NginxStage, name: str) -> None:
    """It verifies, and is registered for no user: no registration has its SHA-256."""
    assert outcome(nginx_stage, name) == Reason.CERTIFICATE_NOT_REGISTERED


@pytest.mark.envoy
@pytest.mark.parametrize("name", LEAVES)
def test_leaf_that_envoy_hands_on_is_read(stage: Stage, name: str) -> None:
    """Likewise; what its own library does not read, it refuses itself."""
    expected = "alert" if name in ENVOY_REFUSES else Reason.CERTIFICATE_NOT_REGISTERED
    assert outcome(stage, name) == expected


@pytest.mark.parametrize("kind", ["x509", "crl"])
def test_openssl_reads_every_tolerated_encoding(openssl: str, tmp_path: Path, kind: str) -> None:
    """Of intermediates and of CRLs, which the operator stores or a server publishes."""
    for name, (_, odd) in (CERTIFICATES if kind == "x509" else CRLS).items():
        path = tmp_path / "odd.der"
        path.write_bytes(odd)
        command = [openssl, kind, "-inform", "DER", "-in", str(path), "-noout", "-text"]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, (name, done.stderr)
        assert b"error" not in done.stderr, name
