"""The matrix of what a client's own certificate header comes to, by how Envoy is configured to treat it.

`deploy/envoy.yaml` says SANITIZE_SET. In the other modes the client's header arrives, in front of Envoy's or instead
of it: a mistake of the operator's that must cost a refusal, never a false identity. Envoy asks for a certificate and
refuses none here, so that a self-signed one is as good to it as any.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from support.clients import bearer
from support.second_envoy import SecondEnvoy, connection_manager
from test_spoofing import alices_header

from authz.demo import Stage
from authz.demo.client import ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import running

pytestmark = pytest.mark.envoy

MODES = ("SANITIZE", "SANITIZE_SET", "APPEND_FORWARD", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY")
GOOD = {"SANITIZE_SET": 200, "APPEND_FORWARD": 200}
"""Where alice herself is allowed: where Envoy's own element arrives, alone."""


@pytest.fixture(scope="module", params=MODES)
def proxy(
    request: pytest.FixtureRequest, request_level_stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, SecondEnvoy]]:
    """An Envoy in one of the modes, its second listener without TLS."""
    mode = str(request.param)

    def change(config: Any) -> None:
        for number in (0, 1):
            connection_manager(config, number)["forward_client_cert_details"] = mode
        config["static_resources"]["listeners"][1]["filter_chains"][0].pop("transport_socket")

    made = SecondEnvoy(request_level_stage, tmp_path_factory.mktemp("mode"), change=change)
    with running(made):
        yield mode, made


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("certificate", [None, "bob", "self-signed", "revoked"])
def test_spoofed_certificate_header_is_refused_in_every_mode(
    proxy: tuple[str, SecondEnvoy], request_level_stage: Stage, certificate: str | None, copies: int
) -> None:
    """Alice's token and alice's certificate in a header, without her key: refused, and not forwarded."""
    stage, folder = request_level_stage, request_level_stage.world.folder
    context = client_context(folder / "roots.pem", certificate and folder / f"{certificate}.pem")
    spoofs = [("x-forwarded-client-cert", alices_header(stage))] * copies
    before = stage.application.requests
    answer = ask(proxy[1].port, context, HOST, [*bearer(stage, "alice"), *spoofs])
    assert answer.status == 403
    assert stage.reason(answer)
    assert stage.application.requests == before


@pytest.mark.parametrize("copies", [1, 2])
def test_spoofed_certificate_header_in_cleartext_is_refused_in_every_mode(
    proxy: tuple[str, SecondEnvoy], request_level_stage: Stage, copies: int
) -> None:
    """Where somebody made the listener one without TLS."""
    plain = http.client.HTTPConnection("127.0.0.1", proxy[1].ordinary_port, timeout=15)
    with contextlib.closing(plain) as connection:
        connection.putrequest("GET", "/", skip_host=True)
        spoofs = [("x-forwarded-client-cert", alices_header(request_level_stage))] * copies
        for name, value in (("host", HOST), *bearer(request_level_stage, "alice"), *spoofs):
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 403


def test_mode_lets_the_rightful_user_in_where_envoys_word_arrives(
    proxy: tuple[str, SecondEnvoy], request_level_stage: Stage
) -> None:
    """The refusals above are of the spoof: these proxies work, or say what they do not hand over."""
    folder = request_level_stage.world.folder
    context = client_context(folder / "roots.pem", folder / "alice.pem")
    answer = ask(proxy[1].port, context, HOST, bearer(request_level_stage, "alice"))
    assert answer.status == GOOD.get(proxy[0], 403)
    if answer.status == 403:
        assert request_level_stage.reason(answer) == "proxy_statement_contradicts"
