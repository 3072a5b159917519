"""Tokens as clients send them and key sets as issuers publish them, behind a real Envoy and a real nginx."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.certificates import new_key
from support.directory import DirectoryStore
from support.nginx_stage import NginxStage, documented_settings
from support.second_envoy import SecondEnvoy, connection_manager
from support.tokens import signed

from authz.demo.client import ask, client_context
from authz.demo.mint import AUDIENCE, HOST, ISSUER
from authz.demo.processes import Application, Envoy, ServiceProcess, running
from authz.demo.world import World
from authz.model import Enforcement, Organization, TokenSettings
from authz.reasons import Reason

pytestmark = [pytest.mark.envoy, pytest.mark.nginx]

EC, OTHER, RSA, ED = new_key("p256"), new_key("p256"), new_key("rsa2048"), new_key("ed25519")
FOREIGN = Reason.IDENTITY_OF_ANOTHER_ORGANIZATION
NAMED = "cf-access-jwt-assertion"


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """A public key of a set."""
    maker = {EC: ECAlgorithm, OTHER: ECAlgorithm, RSA: RSAAlgorithm, ED: OKPAlgorithm}.get(key, ECAlgorithm)
    return {**json.loads(maker.to_jwk(key.public_key())), **members}


@dataclass(frozen=True)
class Row:
    """What an issuer publishes, the token that it signs, and what comes out of it at every proxy."""

    what: str
    keys: list[dict[str, Any]]
    reason: Reason | None = None
    key: Any = EC
    algorithm: str = "ES256"
    header: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    audience_claim: str = "aud"

    def token(self) -> str:
        """A token for the organization of the row."""
        written = {"iss": f"{ISSUER}/{self.what}", self.audience_claim: self.what, "sub": "olga", "exp": 9_999_999_999}
        header = {"alg": self.algorithm, **self.header}
        return signed(self.key, self.algorithm, header, written | self.claims)


A, ENCRYPTION = jwk(EC, kid="a"), jwk(RSA, kid="a", use="enc")
FOUR = [jwk(new_key("p256"), kid=f"k{number}") for number in range(4)]
ROWS = (
    Row("no-kid-one-key", [A]),
    Row("no-kid-two-keys", [jwk(OTHER, kid="o"), A]),
    Row("no-kid-other-kinds", [jwk(RSA, kid="r"), jwk(ED, kid="e"), {**FOUR[0], "use": "enc"}, *FOUR[1:], A]),
    Row("no-kid-five-keys", [*FOUR, A], Reason.TOKEN_KEY_AMBIGUOUS),
    Row("no-kid-of-its-kind", [jwk(RSA)], Reason.TOKEN_KEY_UNKNOWN),
    Row("kid-twice", [jwk(OTHER, kid="a"), A], header={"kid": "a"}),
    Row("kid-twice-one-for-encryption", [ENCRYPTION, jwk(RSA, kid="a")], None, RSA, "PS256", {"kid": "a"}),
    Row("kid-for-encryption", [ENCRYPTION, jwk(ED, kid="e")], Reason.TOKEN_KEY_UNKNOWN, RSA, "RS256", {"kid": "a"}),
    Row("key-without-kid", [jwk(EC)], header={"kid": "whatever"}),
    Row("nulls-in-the-key", [jwk(EC, kid="a", use=None, alg="", key_ops=[], x5c=None, d=None)], header={"kid": "a"}),
    Row("null-kid-in-the-token", [A], Reason.TOKEN_MALFORMED, header={"kid": None}),
    Row("alg-of-another-kind", [A], Reason.TOKEN_SIGNATURE_INVALID, RSA, "RS256", {"kid": "a"}),
    Row("ed25519-by-name", [jwk(ED, kid="e", alg="EdDSA")], None, ED, "Ed25519", {"kid": "e"}),
    Row("ed25519-as-eddsa", [jwk(ED, kid="e", alg="Ed25519")], None, ED, "EdDSA", {"kid": "e"}),
    Row("client-id", [A], audience_claim="client_id"),
    Row("client-id-beside-null-aud", [A], FOREIGN, audience_claim="client_id", claims={"aud": None}),
    Row("azp-of-another", [A], FOREIGN, audience_claim="azp", claims={"azp": "x", "aud": "azp-of-another"}),
    Row("null-cnf", [A], Reason.TOKEN_BINDING_UNSUPPORTED, claims={"cnf": None}),
    Row("null-exp", [A], Reason.IDENTITY_MALFORMED, claims={"exp": None}),
    Row("empty-aud", [A], FOREIGN, claims={"aud": []}),
    Row("null-events", [A], Reason.TOKEN_TYPE_NOT_ALLOWED, claims={"events": None}),
    Row("null-crit", [A], Reason.TOKEN_MALFORMED, header={"crit": None}),
)  # fmt: skip


class TokenStage(NginxStage):
    """The world behind nginx and behind Envoys: one that verifies tokens, and two that leave it to the service."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder).build()
        with contextlib.closing(DirectoryStore(self.world.database)) as store:
            for row in ROWS:
                keys = folder / f"{row.what}.json"
                keys.write_text(json.dumps({"keys": row.keys}))
                issuer = f"{ISSUER}/{row.what}"
                token = TokenSettings(issuer, row.what, keys=str(keys), audience_claim=row.audience_claim)
                store.add_organization(Organization(0, row.what, (f"{row.what}.example.test",), token=token))
                store.add_user(row.what, "olga", Enforcement.OFF)
        settings = documented_settings(self.world)
        for name, identity in (("token", '{kind = "token"}'), ("named", f'{{kind = "token", header = "{NAMED}"}}')):
            settings += (
                f'[[listener]]\nname = "{name}"\naddress = "unix:{folder}/{name}.sock"\n'
                f'socket_group = "{os.getgid()}"\nidentity = [{identity}]\n'
            )
        self.application = Application()
        self.service = ServiceProcess(folder, settings)
        self.proxy = self.nginx = self.kind(self.world, application=self.application.port)
        self.envoy = Envoy(folder, self.world.socket, application=self.application.port)
        self._tokens = {}

    def passing(self, name: str) -> SecondEnvoy:
        """An Envoy that verifies no token, and asks the listener of that name."""
        folder = self.world.folder / f"envoy-{name}"
        folder.mkdir()

        def change(config: Any) -> None:
            filters = connection_manager(config)["http_filters"]
            del filters[:-2]
            check = filters[0]["typed_config"]
            check["disallowed_headers"]["patterns"] = [{"exact": "cookie"}]
            check["allowed_headers"]["patterns"].append({"exact": NAMED})

        return SecondEnvoy(self, folder, socket=self.world.folder / f"{name}.sock", change=change)


Running = tuple[TokenStage, dict[str, int]]


@pytest.fixture(scope="module")
def tokens(envoy: None, nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The stage, and the port of each proxy."""
    made = TokenStage(tmp_path_factory.mktemp("tokens"))
    token, named = made.passing("token"), made.passing("named")
    with running(made.application, made.service, made.nginx, made.envoy, token, named):
        yield made, {"nginx": made.nginx.port, "jwt_authn": made.envoy.port, "envoy": token.port, "named": named.port}


def asked(stage: TokenStage, port: int, host: str, *headers: tuple[str, str]) -> Reason | None:
    """The reason in the service's log for a client without a certificate; None if it is allowed."""
    answer = ask(port, client_context(stage.world.folder / "roots.pem", None), host, headers)
    reason = stage.reason(answer)
    assert (answer.status == 200) is (not reason), (answer, reason)
    return Reason(reason) if reason else None


@pytest.mark.parametrize("proxy", ["nginx", "envoy"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_row_comes_out_as_expected(tokens: Running, row: Row, proxy: str) -> None:
    """The service chooses the key, whichever proxy handed the token over."""
    stage, ports = tokens
    header = ("authorization", f"Bearer {row.token()}")
    assert asked(stage, ports[proxy], f"{row.what}.example.test", header) is row.reason


SPELLINGS = (
    ("Bearer {good}", None),
    ("bearer {good}", None),
    ("BEARER {good}", None),
    ("bEaReR \t  {good}", None),
    ("Basic {good}", Reason.TOKEN_MISSING),
    ("xBearer {good}", Reason.TOKEN_MISSING),
    ("Basic Bearer {good}", Reason.TOKEN_MISSING),
    ("Bearerx {good}", Reason.TOKEN_MISSING),
    ("{good}", Reason.TOKEN_MISSING),
    ("", Reason.TOKEN_MISSING),
    ("Bearer {good} {good}", Reason.TOKEN_MALFORMED),
    ("Bearer x", Reason.TOKEN_MALFORMED),
    ("bearer {expired}", Reason.TOKEN_EXPIRED),
    ("bearer {forged}", Reason.TOKEN_SIGNATURE_INVALID),
)


@pytest.mark.parametrize("proxy", ["nginx", "envoy", "jwt_authn"])
@pytest.mark.parametrize(("spelling", "reason"), SPELLINGS, ids=[spelling for spelling, _ in SPELLINGS])
def test_scheme_in_any_case_and_with_any_blanks(
    tokens: Running, proxy: str, spelling: str, reason: Reason | None
) -> None:
    """Alike, whether the proxy verifies the token or the service; what is expired, wrong or missing has its reason."""
    stage, ports = tokens
    good = stage.token("olga")
    forged = good.rpartition(".")[0] + "." + stage.token("bob").rpartition(".")[2]
    value = spelling.format(good=good, forged=forged, expired=stage.token("olga", "expired"))
    assert asked(stage, ports[proxy], HOST, ("authorization", value)) is reason


@pytest.mark.parametrize("changes", [{"aud": "other"}, {"iss": "https://other"}, {"nbf": 9_999_999_998}, {}])
def test_status_of_jwt_authn_has_the_reason_of_a_token_verified_here(tokens: Running, changes: dict[str, Any]) -> None:
    """Audience, issuer, time, and a key that the proxy does not have."""
    stage, ports = tokens
    key, kid = (stage.world.mint._token_key, "demo") if changes else (EC, "none")
    claims = {"iss": ISSUER, "aud": AUDIENCE, "org": "acme", "sub": "olga", "exp": 9_999_999_999, **changes}
    written = signed(key, "ES256", {"alg": "ES256", "kid": kid}, claims)
    expected = Reason.TOKEN_NOT_YET_VALID if "nbf" in changes else FOREIGN if changes else Reason.TOKEN_KEY_UNKNOWN
    for proxy in ("jwt_authn", "nginx"):
        assert asked(stage, ports[proxy], HOST, ("authorization", f"Bearer {written}")) is expected


def test_each_of_two_providers_hands_its_status_over(tokens: Running, tmp_path: Path) -> None:
    """Under a key of its own; what Envoy has no status for, with two, is a missing token."""
    stage, _ = tokens

    def change(config: Any) -> None:
        tokens = connection_manager(config)["http_filters"][2]["typed_config"]
        other = {"issuer": "https://other", "failed_status_in_metadata": "failed-other"}
        tokens["providers"]["other"] = tokens["providers"]["organization"] | other
        tokens["rules"][0]["requires"]["requires_any"]["requirements"].insert(1, {"provider_name": "other"})

    claims = {"aud": AUDIENCE, "org": "acme", "sub": "olga", "exp": 5}
    envoy = SecondEnvoy(stage, tmp_path, change=change)
    with running(envoy):
        for issuer, reason in ((ISSUER, Reason.TOKEN_EXPIRED), ("https://other", Reason.TOKEN_EXPIRED), ("x", FOREIGN)):
            header = {"alg": "ES256", "kid": "demo"}
            written = signed(stage.world.mint._token_key, "ES256", header, {"iss": issuer, **claims})
            assert asked(stage, envoy.port, HOST, ("authorization", f"Bearer {written}")) is reason
        assert asked(stage, envoy.port, HOST) is Reason.IDENTITY_MISSING


def test_status_that_a_client_writes_counts_nothing(tokens: Running) -> None:
    """Envoy removes it, and the copy of the token that its filter reads."""
    stage, ports = tokens
    forged = (("x-authz-token-status", '{"message":"Jwt is expired"}'), ("x-authz-token", stage.token("olga")))
    assert asked(stage, ports["jwt_authn"], HOST, *forged) is Reason.TOKEN_MISSING


def test_token_in_a_named_header(tokens: Running) -> None:
    """As Cloudflare Access sends it; another header counts nothing there."""
    stage, ports = tokens
    assert asked(stage, ports["named"], HOST, (NAMED, stage.token("olga"))) is None
    assert (
        asked(stage, ports["named"], HOST, ("authorization", f"Bearer {stage.token('olga')}")) is Reason.TOKEN_MISSING
    )


@pytest.mark.parametrize("proxy", ["nginx", "jwt_authn"])
def test_token_of_ten_kilobytes_is_not_a_missing_one(tokens: Running, proxy: str) -> None:
    """Issuers write all groups of a user into it; Envoy's header_to_metadata drops a value of 8 KB."""
    stage, ports = tokens
    claims = {"iss": ISSUER, "aud": AUDIENCE, "org": "acme", "sub": "olga", "exp": 9_999_999_999, "groups": "g" * 7_500}
    written = signed(stage.world.mint._token_key, "ES256", {"alg": "ES256", "kid": "demo"}, claims)
    assert asked(stage, ports[proxy], HOST, ("authorization", f"Bearer {written}")) is None


@pytest.mark.parametrize("other", ["Bearer {good}", "bearer {good}", "Basic x", "x"])
def test_two_headers_with_tokens_name_no_user(tokens: Running, other: str) -> None:
    """In either order: Envoy joins them."""
    stage, ports = tokens
    both = [("authorization", value.format(good=stage.token("olga"))) for value in ("Bearer {good}", other)]
    for headers in (both, both[::-1]):
        assert asked(stage, ports["jwt_authn"], HOST, *headers) in {Reason.TOKEN_MALFORMED, Reason.TOKEN_MISSING}
