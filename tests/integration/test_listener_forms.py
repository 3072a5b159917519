"""One service with a listener for each form of certificate header: each takes its own, and none another's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from authz.demo import Stage
from authz.demo.mint import HOST
from authz.demo.processes import ServiceProcess, free_port, running
from authz.demo.world import World
from authz.headers import base64_der, escaped_pem, pem, present, rfc9440

FINGERPRINT, VERIFY, SHA256SUM, FLAG = "envoy-fingerprint", "nginx-verify", "sha256", "flag"

DOORS = {
    "envoy": ("xfcc", "x-forwarded-client-cert", FINGERPRINT),
    "envoy-json": ("xfcc-json", "x-forwarded-client-cert", FINGERPRINT),
    "rfc9440": ("rfc9440", "client-cert", SHA256SUM),
    "caddy": ("rfc9440", "client-cert", SHA256SUM),
    "nginx": ("escaped-pem", "x-ssl-client-cert", VERIFY),
    "traefik": ("base64-der", "x-forwarded-tls-client-cert", "none"),
    "custom": ("escaped-pem", "x-of-our-own", VERIFY),
    "haproxy": ("base64-der", "x-ssl-client-cert", SHA256SUM),
    "apache": ("escaped-pem", "ssl-client-cert", FLAG),
}
"""Form, header and statement of each. The listener "rfc9440" takes a chain header, "caddy" takes none."""

SPELLED = {"haproxy": "", "apache": "(null)"}
"""What those write without a certificate that always send the header."""

MORE = {FLAG: ', presented = ["SUCCESS"], none = ["NONE"]', SHA256SUM: ', none = ["none"]'}
"""Settings of a statement."""

NONE = {FINGERPRINT: "sha256=", VERIFY: "NONE", SHA256SUM: "none", FLAG: "NONE"}
"""The statements that no certificate was shown."""


def as_json(*ders: bytes) -> bytes:
    """What Envoy writes with `format: JSON`, the leaf first."""
    texts = [pem.write((der,)).decode() for der in ders]
    return json.dumps([{"hash": hashlib.sha256(ders[0]).hexdigest(), "cert": texts[0], "chain": texts}]).encode()


class Forms(Stage):
    """The world and its service; a socket in the folder for each listener, and no proxy in front."""

    def __init__(self, world: World) -> None:
        self.world = world
        text = f'database = "{world.database}"\n[ops]\naddress = "127.0.0.1:{free_port()}"\n'
        for name, (form, header, statement) in DOORS.items():
            more = ', chain_header = "client-cert-chain"' if name == "rfc9440" else ""
            more += f', none = ["{SPELLED[name]}"]' if name in SPELLED else ""
            text += (
                f'[[listener]]\nname = "{name}"\naddress = "unix:{world.folder}/{name}.sock"\n'
                f'socket_group = "{os.getgid()}"\nidentity = [{{kind = "token"}}]\n'
                f'certificate = {{form = "{form}", header = "{header}"{more}}}\n'
                f'client_cert_indicator = {{form = "{statement}", header = "x-authz-peer"{MORE.get(statement, "")}}}\n'
            )
        self.service = ServiceProcess(world.folder, text)
        self._tokens = {}

    def written(self, listener: str, name: str) -> dict[str, str]:
        """What the proxy at a listener would hand over for somebody, leaf and chain where the form has one."""
        party = self.world.clients[name]
        leaf = party.certificate.public_bytes(Encoding.DER)
        chain = tuple(one.public_bytes(Encoding.DER) for one in party.chain)
        form, header, statement = DOORS[listener]
        value = {
            "xfcc": lambda: present(leaf, chain),
            "xfcc-json": lambda: as_json(leaf, *chain),
            "rfc9440": lambda: rfc9440.format_certificate(leaf),
            "escaped-pem": lambda: escaped_pem.format((leaf,)),
            "base64-der": lambda: base64_der.format((leaf, *chain)),
        }[form]()
        headers = {header: value.decode()}
        if listener == "rfc9440":
            headers["client-cert-chain"] = rfc9440.format_chain(chain).decode()
        digest = party.certificate.fingerprint(SHA256()).hex()
        stated = {FINGERPRINT: f"sha256={digest}", VERIFY: "SUCCESS", SHA256SUM: digest.upper(), FLAG: "SUCCESS"}
        return headers | ({"x-authz-peer": stated[statement]} if statement in stated else {})

    async def asked(self, listener: str, headers: dict[str, str]) -> tuple[int, str | None]:
        """The status at a listener's socket for alice, and the reason in the log."""
        reader, writer = await asyncio.open_unix_connection(f"{self.world.folder}/{listener}.sock")
        lines = [f"GET /v1/auth HTTP/1.1\r\nhost: {HOST}\r\nconnection: close"]
        lines += [
            f"{key}: {value}" for key, value in {"authorization": f"Bearer {self.token('alice')}", **headers}.items()
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = (await reader.read()).decode()
        writer.close()
        line = self.service.decision(answer.lower().split("x-authz-decision-id: ")[1][:32])
        assert line["listener"] == listener
        return int(answer.split()[1]), line.get("reason")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    """The service with all listeners."""
    made = Forms(World(tmp_path_factory.mktemp("forms")).build())
    with running(made.service):
        yield made


@pytest.mark.parametrize("listener", DOORS)
@pytest.mark.parametrize(
    ("certificate", "reason"),
    [("alice", None), ("bob", "certificate_of_another_user"), ("revoked", "certificate_revoked")],
)
async def test_own_form_is_read_at_its_listener(
    forms: Forms, listener: str, certificate: str, reason: str | None
) -> None:
    """One decision, whatever the form."""
    expected = (200 if reason is None else 403, reason)
    assert await forms.asked(listener, forms.written(listener, certificate)) == expected


STRANGE = [(listener, other) for listener in DOORS for other in DOORS if DOORS[listener] != DOORS[other]]


@pytest.mark.parametrize(("listener", "other"), STRANGE)
async def test_form_of_another_listener_counts_nothing(forms: Forms, listener: str, other: str) -> None:
    """Alice's certificate as another proxy writes it, alone or beside bob's own, makes no alice."""
    strange = forms.written(other, "alice")
    status, reason = await forms.asked(listener, strange)
    assert status == 403
    # A header that no list of names knows is silence.
    same = DOORS[listener][1] == DOORS[other][1] or other == "custom"
    assert reason in {"header_unexpected", "header_malformed", "proxy_statement_missing", "certificate_required"} | (
        {"proxy_statement_contradicts"} if same else set()
    )
    beside = strange | forms.written(listener, "bob")
    status, reason = await forms.asked(listener, beside)
    assert status == 403
    assert reason in {"header_unexpected", "certificate_of_another_user"}


async def test_chain_header_where_none_is_taken_refuses(forms: Forms) -> None:
    """At the listener of a proxy that writes none, a chain is somebody else's."""
    assert await forms.asked("caddy", forms.written("rfc9440", "alice")) == (403, "header_unexpected")


@pytest.mark.parametrize("listener", [name for name, one in DOORS.items() if one[2] != "none"])
async def test_statement_that_is_missing_or_another_refuses(forms: Forms, listener: str) -> None:
    """A certificate header without the proxy's word for it, and with its word for none."""
    headers = forms.written(listener, "alice")
    none = NONE[DOORS[listener][2]]
    assert await forms.asked(listener, headers | {"x-authz-peer": none}) == (403, "proxy_statement_contradicts")
    absent = {DOORS[listener][1]: SPELLED[listener]} if listener in SPELLED else {}
    assert await forms.asked(listener, absent | {"x-authz-peer": none}) == (403, "certificate_required")
    del headers["x-authz-peer"]
    assert await forms.asked(listener, headers) == (403, "proxy_statement_missing")
