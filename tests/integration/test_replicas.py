"""Two pods over one directory, as deploy/kubernetes has them: a change reaches both, the end of one is not felt."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.cluster_stage import GatewayStage
from support.directory import DirectoryStore
from support.mesh_translation import upstream
from test_mesh_gateways import requested

from authz.demo.processes import ServiceProcess, free_port, running

pytestmark = pytest.mark.envoy
BOUND = 30.0


class Pair(GatewayStage):
    """Envoy Gateway before two services with the settings of the ConfigMap; only the cache is each one's own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "envoy gateway")
        first = (folder / "authz.toml").read_text(encoding="utf-8")
        port, place = free_port(), folder / "second"
        place.mkdir()
        text = re.sub(rf"\b{self.service_port}\b", str(port), first).replace(f"{folder}/crls", f"{place}/crls")
        for name in ("address", "health_probe_address"):
            text = re.sub(rf'(?m)^({name} = "127.0.0.1:)(?!{port}")\d+', rf"\g<1>{free_port()}", text)
        self.second = ServiceProcess(place, text)
        config = yaml.safe_load(self.proxy._config.read_text(encoding="utf-8"))
        (cluster,) = (one for one in config["static_resources"]["clusters"] if one["name"] == "authz")
        cluster["load_assignment"]["endpoints"] += upstream("authz", port)["load_assignment"]["endpoints"]
        self.proxy._config.write_text(yaml.safe_dump(config), encoding="utf-8")

    def decided(self) -> list[int]:
        """How many requests each of the two decided."""
        return [sum('"outcome"' in line for line in one.log) for one in (self.service, self.second)]


@pytest.fixture
def pair(envoy: None, tmp_path: Path) -> Iterator[Pair]:
    """Both services, the gateway and the application."""
    made = Pair(tmp_path)
    with running(made.application, made.service, made.second, made.proxy):
        yield made


def until_both_decide(pair: Pair, certificate: str, status: int) -> None:
    """Ask until both have answered so since now."""
    before, deadline = pair.decided(), time.monotonic() + BOUND
    while any(now < then + 3 for now, then in zip(pair.decided(), before, strict=True)):
        assert time.monotonic() < deadline, pair.decided()
        assert requested(pair, "alice", certificate).status == status


def test_change_of_the_directory_reaches_both(pair: Pair) -> None:
    """A retired certificate is refused by either, and both go on writing their histories to one file."""
    until_both_decide(pair, "alice", 200)
    until_both_decide(pair, "bob", 403)
    store = DirectoryStore(pair.world.database)
    try:
        store.retire(1, pair.world.mint.now)
    finally:
        store.close()
    deadline = time.monotonic() + BOUND
    refused = 0
    while refused < 20:
        assert time.monotonic() < deadline
        refused = refused + 1 if requested(pair, "alice", "alice").status == 403 else 0
    until_both_decide(pair, "alice", 403)
    said = "".join([*pair.service.log, *pair.second.log])
    assert "internal_error" not in said
    assert "cannot be" not in said


def test_end_of_one_is_not_felt(pair: Pair) -> None:
    """Stopped as Kubernetes stops it: what it leaves undone, the gateway asks the other."""
    until_both_decide(pair, "alice", 200)
    pair.second.stop()
    # In turn, so that every second one meets it; that one waits up to a second, the least Envoy Gateway can be told.
    assert [requested(pair, "alice", "alice").status for _ in range(16)] == [200] * 16
    pair.second.start()
    until_both_decide(pair, "alice", 200)
