"""What mutual TLS between proxy and service takes: a CA, the service's certificate, and those of proxies."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.certificates import Authority, Minted, chain_pem, san

NOW = datetime.now(UTC).replace(microsecond=0)
LIFE = {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=30)}
SERVICE, PROXY = "authz.internal.example", "spiffe://mesh.example/ns/edge/sa/gateway"
MESH = Authority.root("Mesh", **LIFE)
FOREIGN = Authority.root("Foreign mesh", **LIFE)
SERVER_USE = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)


def proxy(*names: str | x509.GeneralName, by: Authority = MESH, **options: object) -> Minted:
    """A proxy's certificate with these names, the allowed one if none is given."""
    wanted = names or (x509.UniformResourceIdentifier(PROXY),)
    return by.leaf("proxy", extensions=[(san(*wanted), False)], **(LIFE | options))


def server(by: Authority = MESH, *names: str) -> Minted:
    """The service's certificate."""
    return by.leaf("service", extensions=[(san(*(names or (SERVICE,))), False), SERVER_USE], **LIFE)


def write(folder: Path, name: str, one: Minted, *chain: Minted) -> None:
    """`name.pem` and `name.key`, each replaced at once, as tools that renew certificates do."""
    for suffix, text in (("pem", chain_pem(one, *chain)), ("key", one.key_pem)):
        fresh = folder / f".{name}.{suffix}"
        fresh.write_text(text)
        fresh.replace(folder / f"{name}.{suffix}")


def client(folder: Path, name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A proxy's context, which shows the certificate `name` and does not care who answers."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    if name is not None:
        made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return made
