"""A CRL that its CA publishes bites through a real Envoy, and what happens while its server is away."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clients import Dial, bearer
from support.command_world import authz
from support.directory import DirectoryStore

from authz.demo import Stage
from authz.demo.mint import HOST
from authz.demo.processes import running
from authz.model import Enforcement

pytestmark = [pytest.mark.envoy, pytest.mark.usefixtures("envoy")]

INTERVAL = 1
"""Seconds between two fetches: the ceiling and the floor that these services are given."""

BOUND = INTERVAL + 2.5
"""Seconds from publication to refusal: the interval, half a second of looking, and one from acceptance to every check;
and one more for the machine."""


class Publisher:
    """A CA's web server on loopback: it serves `body`, and can be stopped."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.requests = 0
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer with the CRL."""
                publisher.requests += 1
                body = publisher.body_of(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/ca.crl"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def body_of(self, path: str) -> bytes:
        """What is at the path."""
        return self.body

    def stop(self) -> None:
        """Answer no request any more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def published(folder: Path, more: str = "", *, ceiling: str = f"{INTERVAL}s") -> Iterator[tuple[Stage, Publisher]]:
    """A stage whose service fetches the issuing CA's CRL; the address is allowed, since loopback is not."""
    folder.mkdir(exist_ok=True)
    publisher = Publisher(b"")
    crl = (
        f'networks = ["127.0.0.0/8"]\nmin_interval = "{INTERVAL}s"\nmax_interval = "{ceiling}"\nrefresh_ahead = "0s"\n'
    )
    stage = Stage(folder, settings=f'\n[crl]\nurls = ["{publisher.url}"]\n{crl}{more}\n')
    publisher.body = stage.world.crl("issuing", "revoked", number=2).der or b""
    try:
        with running(stage.application, stage.service, stage.envoy):
            yield stage, publisher
    finally:
        publisher.stop()


def test_certificate_revoked_by_a_published_crl_is_refused_on_an_open_connection(tmp_path: Path, dial: Dial) -> None:
    """Within the bound, and from then on; the service was not touched."""
    with published(tmp_path) as (stage, publisher):
        connection = dial(stage, "alice")
        assert connection.get(headers=bearer(stage, "alice")).status == 200
        publisher.body = stage.world.crl("issuing", "revoked", "alice", number=3).der or b""
        changed, last_allowed = time.monotonic(), 0.0
        while time.monotonic() < changed + BOUND + 1:
            began = time.monotonic()
            answer = connection.get(headers=bearer(stage, "alice"))
            if answer.status == 200:
                last_allowed = began
            time.sleep(0.005)
        assert last_allowed < changed + BOUND
        assert (answer.status, stage.reason(answer)) == (403, "certificate_revoked")


def test_open_http_2_connection_is_refused_within_the_bound_once_its_certificate_is_revoked(
    tmp_path: Path, curl: str
) -> None:
    """Many requests on one connection: allowed first, then not, and never again; by the service's own clock."""
    with published(tmp_path) as (stage, publisher):
        folder, port = stage.world.folder, stage.envoy.port
        command = [curl, "--silent", "--http2", "--rate", "5/s", "--cacert", str(folder / "roots.pem")]
        command += ["--cert", str(folder / "alice.pem"), "--key", str(folder / "alice.key"), "--output", "/dev/null"]
        command += ["--connect-to", f"{HOST}:{port}:127.0.0.1:{port}", "--no-progress-meter"]
        command += ["--header", f"authorization: Bearer {stage.token('alice')}"]
        command += ["--write-out", "%{http_code} %{http_version} %{num_connects}\\n", f"https://{HOST}:{port}/[1-30]"]
        asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        wait_for(stage, '"outcome":"allow"')
        changed = datetime.now(UTC)
        publisher.body = stage.world.crl("issuing", "revoked", "alice", number=3).der or b""
        answers = [line.split() for line in asking.communicate(timeout=60)[0].splitlines()]
        decisions = [one for one in map(json.loads, stage.service.log) if one["event"] == "decision"]
    statuses = [status for status, _, _ in answers]
    assert statuses[0] == "200"
    assert statuses[-1] == "403"
    assert statuses == sorted(statuses)
    assert {version for _, version, _ in answers} == {"2"}
    assert sum(int(connects) for _, _, connects in answers) == 1
    allowed = [datetime.fromisoformat(one["time"]) for one in decisions if one["outcome"] == "allow"]
    assert len(allowed) == statuses.count("200")
    assert max(allowed) < changed + timedelta(seconds=BOUND)
    refused = {one["reason"] for one in decisions if one["outcome"] == "deny"}
    # Of a check that a busy machine left undecided the client does not hear: it was asked again.
    assert refused - {"directory_unavailable"} == {"certificate_revoked"}


def test_operator_has_a_published_crl_fetched_at_once_and_sees_it(tmp_path: Path, dial: Dial) -> None:
    """An hour before it would be asked for; on an open connection the next request is refused."""
    with published(tmp_path, ceiling="1h") as (stage, publisher):
        wait_for(stage, "number 2")
        connection = dial(stage, "alice")
        assert connection.get(headers=bearer(stage, "alice")).status == 200
        publisher.body = stage.world.crl("issuing", "revoked", "alice", number=3).der or b""
        assert asked(stage, "crl", "refresh", "CN=Acme Issuing CA") == [
            {**FETCHED, "source": publisher.url, "problem": "accepted"}
        ]
        answer = connection.get(headers=bearer(stage, "alice"))
        assert (answer.status, stage.reason(answer)) == (403, "certificate_revoked")
        [listed] = [one for one in asked(stage, "crl", "list") if one["source"] == publisher.url]
        assert (listed["issuer"], listed["number"], listed["entries"]) == ("CN=Acme Issuing CA", 3, 2)
        assert (listed["age"].endswith(" min"), listed["left"], listed["problem"]) == (True, "6 d", "")
        shown = asked(stage, "crl", "show", listed["sha256"][:12])
        assert (shown["source"], shown["failures"]) == (publisher.url, 0)
        why = {(one["organization"], one["subject"]): one["because"] for one in asked(stage, "crl", "forecast")}
        assert "certificate_revoked" in why["acme", "CN=alice"]
        assert why["acme", "CN=bob"] == "the CRL of CN=Acme Issuing CA expires"


def test_crl_never_seen_is_fetched_while_the_proxy_waits(tmp_path: Path, dial: Dial) -> None:
    """From the distribution point of the certificates that are shown, and not before one is."""
    with published(tmp_path, "first_fetch_wait_seconds = 0.28") as (stage, publisher):
        fresh = stage.world.mint.authority("Acme Fresh CA", stage.world.authorities["root"])
        point = Publisher(b"")
        for name in ("carol", "mallory"):
            stage.world.clients[name] = stage.world.mint.client(name, fresh, crls=[point.url])
            stage.world.clients[name].write(stage.world.folder, name)
        stage.world.authorities["fresh"] = fresh
        point.body = stage.world.crl("fresh", "mallory", number=1).der or b""
        store = DirectoryStore(stage.world.database)
        store.add_user("acme", "carol", Enforcement.OFF)
        store.close()
        try:
            assert point.requests == 0
            first = dial(stage, "carol").get(headers=bearer(stage, "carol"))
            # On a machine that is too busy to fetch in a quarter of a second the first is refused, for just that.
            assert first.status == 200 or stage.reason(first) == "revocation_unknown"
            wait_for(stage, "number 1 of CN=Acme Fresh CA")
            assert dial(stage, "carol").get(headers=bearer(stage, "carol")).status == 200
            refused = dial(stage, "mallory").get(headers=bearer(stage, "carol"))
            assert (refused.status, stage.reason(refused)) == (403, "certificate_revoked")
            assert point.requests == 1
        finally:
            point.stop()
        assert publisher.requests


AWAY = {
    "": (403, "revocation_unknown", None),
    'grace = "1h"': (200, None, "grace"),
    "unsafe_soft_fail = true": (200, None, "unsafe_soft_fail"),
}
"""What alice is answered, why she is refused, and what lets her pass, by what the operator says."""


def test_server_that_is_away_for_longer_than_next_update(tmp_path: Path, dial: Dial) -> None:
    """Refused, or let pass as the operator says, and reported; a revoked certificate never passes."""
    with contextlib.ExitStack() as stack:
        # All are started before any is waited for.
        stages = [stack.enter_context(published(tmp_path / str(at), settings)) for at, settings in enumerate(AWAY)]
        until = datetime.now(UTC) + timedelta(seconds=3)
        for stage, publisher in stages:
            publisher.body = stage.world.crl("issuing", "revoked", number=3, until=until).der or b""
        for stage, publisher in stages:
            wait_for(stage, "number 3")
            publisher.stop()
        for (stage, _), expected in zip(stages, AWAY.values(), strict=True):
            connection = dial(stage, "alice")
            wait_for(stage, "out of date")
            answer = connection.get(headers=bearer(stage, "alice"))
            told = stage.service.decision((answer.seen or answer.headers)["x-authz-decision-id"])
            assert (answer.status, told.get("reason"), told.get("exemption")) == expected
            assert dial(stage, "revoked").get(headers=bearer(stage, "alice")).status == 403


FETCHED = dict.fromkeys(("issuer", "signed_by", "number", "entries", "this_update", "next_update", "sha256")) | {
    "age": "",
    "left": "",
}


def asked(stage: Stage, *arguments: str) -> Any:
    """What the operator's command prints, with the configuration of the service that runs."""
    settings = str(stage.world.folder / "authz.toml")
    with contextlib.chdir(stage.world.folder):
        done = authz("--config", settings, *arguments, "--json")
    assert done.code == 0, done.err
    return done.data


def wait_for(stage: Stage, words: str) -> None:
    """Until the service tells its operator so, in its log or in the list of CRLs."""
    for _ in range(200):
        if words in listed(stage) or any(words in line for line in stage.service.log):
            return
        time.sleep(0.1)
    pytest.fail(f"the service never says {words}: {listed(stage)} {stage.service.log[-5:]}")


def listed(stage: Stage) -> str:
    """The sources, as the operator's command shows them."""
    store = DirectoryStore(stage.world.database)
    try:
        return " | ".join(f"{one.outcome} {one.detail}" for one in store.crl_sources())
    finally:
        store.close()
