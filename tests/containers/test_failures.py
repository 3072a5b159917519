"""The service killed, paused, slow, restarted, its sockets gone: no request passes, and all is well again by itself.

The proxies are never touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from support.compose_stage import FRONTS, PATIENCE, ComposeStage, Front, run, wait_until

from authz.demo.fill import INSTANCES
from authz.web.answer import IDENTITY_HEADERS

pytestmark = pytest.mark.docker


@pytest.fixture(autouse=True)
def well(containers: ComposeStage) -> Iterator[None]:
    """Everything is up when a test begins, and again when it has ended."""
    assert allowed(containers)
    yield
    if not allowed(containers):
        containers.up()
    wait_until(lambda: allowed(containers), "all is well again")


def allowed(stage: ComposeStage) -> bool:
    """Whether both proxies allow alice; several times, so that each instance is asked."""
    return all(stage.status(front) == 200 for front in FRONTS * 4)


def down(stage: ComposeStage) -> None:
    """Both proxies answer that nothing decides, to clients who would be allowed and to those who would not."""
    # At once: of a service that hangs each proxy waits for as long as it may.
    asked = [(front, one) for front in FRONTS for one in ("alice", "bob", None)]
    with stage.nobody_reaches_the_application(), ThreadPoolExecutor(len(asked)) as clients:
        answers = list(clients.map(lambda one: stage.status(*one), asked))
    assert answers == [front.down for front, _ in asked]


def test_killed(containers: ComposeStage) -> None:
    """Without a service no request passes; a new one takes the sockets over."""
    containers.compose("kill", *INSTANCES)
    down(containers)
    containers.compose("start", *INSTANCES)
    wait_until(lambda: allowed(containers), "the service is back")


def test_ended_is_started_again_by_itself(containers: ComposeStage) -> None:
    """No client notices."""
    ids = [containers.container(one) for one in INSTANCES]
    before = list(map(started, ids))
    for one in INSTANCES:
        containers.python(one, "import os; os.kill(1, 15)", check=False)
    wait_until(lambda: not {"", *before} & set(map(started, ids)), "each is started again")
    wait_until(lambda: allowed(containers), "the service is back")


def started(container: str) -> str:
    """When a container was started last, while it runs; empty while it does not."""
    return run("docker", "inspect", "--format", "{{if .State.Running}}{{.State.StartedAt}}{{end}}", container).strip()


@pytest.mark.parametrize("number", ["HUP", "USR2"])
def test_renewed(containers: ComposeStage, number: str) -> None:
    """Every process is another, and the proxies find them where the ones before were."""

    def renewed(container: str) -> int:
        return run("docker", "logs", container).count('"event":"reloaded"')

    for container in map(containers.container, INSTANCES):
        before = renewed(container)
        run("docker", "kill", "--signal", number, container)
        wait_until(lambda at=container, before=before: renewed(at) > before, "all processes are replaced")  # type: ignore[misc]
        assert allowed(containers)
    # Connections of the proxies may have stayed; these are new.
    for one in FRONTS:
        containers.compose("restart", one.name)
    wait_until(lambda: allowed(containers), "the proxies are back")


def test_paused(containers: ComposeStage) -> None:
    """A service that hangs is not waited for, and its answer not guessed."""
    containers.signal("SIGSTOP")
    try:
        down(containers)
    finally:
        containers.signal("SIGCONT")
    wait_until(lambda: allowed(containers), "the service goes on")


LATE = f"""
import os, socket, threading, time
HEADERS = "".join(f"{{one}}: alice\\r\\n" for one in {IDENTITY_HEADERS})
def answer(client):
    while client.recv(65536):
        time.sleep(4)
        try:
            client.sendall(f"HTTP/1.1 200 OK\\r\\n{{HEADERS}}content-length: 0\\r\\n\\r\\n".encode())
        finally:
            print("answered", flush=True)
def listen(path):
    at = socket.socket(socket.AF_UNIX)
    at.bind(path)
    os.chmod(path, 0o660)
    at.listen()
    while True:
        threading.Thread(target=answer, args=[at.accept()[0]], daemon=True).start()
for instance in {INSTANCES}:
    for listener in ("envoy", "nginx"):
        threading.Thread(target=listen, args=[f"/listeners/{{instance}}/{{listener}}/authz.sock"]).start()
"""
"""A service that allows everybody, but late."""


@contextmanager
def late(stage: ComposeStage) -> Iterator[Callable[[], int]]:
    """That service in the place of ours; how often it has answered."""
    stage.compose("stop", *INSTANCES)
    listeners = [("envoy", "1"), ("nginx", "1"), ("envoy", "2"), ("nginx", "2")]
    volumes = [
        f"--volume={stage.project}_{listener}-listener-{one}:/listeners/authz-{one}/{listener}"
        for listener, one in listeners
    ]
    options = ["--detach", "--network=none", "--entrypoint=python", *volumes]
    container = run("docker", "run", *options, "mtls-authz", "-c", LATE).strip()
    try:
        yield lambda: run("docker", "logs", container).count("answered")
    finally:
        run("docker", "rm", "--force", container)


def test_slow(containers: ComposeStage) -> None:
    """An allow that comes too late allows no request, neither then nor later."""
    with late(containers) as answered, containers.nobody_reaches_the_application():
        for front in FRONTS:
            wait_until(lambda front=front: containers.status(front) == front.down, "the late one is asked")
        wait_until(lambda: answered() >= 4, "each front has had late answers")


def test_sockets_gone(containers: ComposeStage) -> None:
    """Open connections go on being judged; once they have ended, no request passes until the service made others."""
    for one in INSTANCES:
        code = (
            "import pathlib\nfor proxy in ('envoy', 'nginx'): pathlib.Path(f'/run/authz/{proxy}/authz.sock').unlink()"
        )
        containers.python(one, code)
    for front in FRONTS:
        assert {containers.status(front) for _ in range(10)} <= {200, front.down}
        assert {containers.status(front, "bob") for _ in range(10)} <= {403, front.down}
    containers.compose("kill", *INSTANCES)
    down(containers)


class Load:
    """Clients at both proxies, whose connections stay open: some are allowed and some are not, and all go on asking."""

    def __init__(self, stage: ComposeStage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self.wrong: list[str] = []
        self.right = 0
        self._clients = [
            threading.Thread(target=self._ask, args=(front, certificate, expected))
            for front in FRONTS
            for certificate, expected in (("alice", 200), ("alice", 200), ("bob", 403))
        ]

    def _ask(self, front: Front, certificate: str, expected: int) -> None:
        headers = self._stage.headers("alice")
        connection = self._stage.connection(front, certificate)
        # Without a pause they would take the time of what they are there to watch.
        while not self._stop.wait(0.01):
            try:
                answer = connection.get(headers=headers)
            except OSError as error:
                self.wrong.append(f"{front.name} {certificate} {error!r}")
                return
            if answer.status == expected:
                self.right += 1
            else:
                decision = answer.headers.get("x-authz-decision-id")
                self.wrong.append(f"{front.name} {certificate} {answer.status} {decision}")
        connection.close()

    def go_on(self) -> None:
        """Wait for more answers: an instance that has begun gets some of them, and has read its rows when they come."""
        enough = self.right + 200
        wait_until(lambda: self.right > enough or self.wrong, "the load goes on")

    @contextmanager
    def running(self) -> Iterator[None]:
        """As long as it lasts."""
        for one in self._clients:
            one.start()
        try:
            yield
        finally:
            self._stop.set()
            for one in self._clients:
                one.join(PATIENCE)


@pytest.mark.parametrize("how", [["restart"], ["kill", "--signal", "SIGKILL"]], ids=["restarted", "killed"])
def test_one_after_the_other_under_load(containers: ComposeStage, how: list[str]) -> None:
    """No allowed request fails, and no other passes."""
    load = Load(containers)
    with load.running():
        for one in INSTANCES:
            containers.compose(*how, one)
            containers.up(one)
            load.go_on()
    assert load.wrong == []
    assert load.right > 100
