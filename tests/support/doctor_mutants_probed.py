"""`make mutants`: what probes show of each mutant with the real proxies, beside what lint names; the table in the docs.

Whatever a probe shows as a way round must be named by lint. `make mutants MUTANTS=--write`
makes docs/doctor-mutants.md anew; without, it is compared.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import yaml

from authz.demo import Stage
from authz.demo.mint import HOST, NEIGHBOUR_HOST
from authz.demo.processes import Envoy, envoy_binary, free_ports, running
from authz.doctor.probe.clients import BAD, Clients
from authz.doctor.probe.dialing import Dialer, Endpoint, Question, Response, Shown
from authz.doctor.probe.other_protocols import plain_http
from authz.doctor.probe.probes import (
    Probe,
    arriving_probes,
    certificate_probes,
    forged_probes,
    host_probes,
    identity_probes,
)
from authz.errors import ConfigError
from support.doctor_faults import NGINX
from support.doctor_mutants import Mutant, envoy_mutants, nginx_mutants
from support.doctor_mutants_table import PAGE, Row, page_of
from support.nginx_stage import Nginx, NginxStage

CRASHES: Final = "the proxy ends"

UNHURRIED: Final = 1_000_000
"""Questions a second: as many as there are, for no user else uses these proxies."""


class Probes:
    """What a client tries at one port of a proxy: probes of `authz doctor probe`, as the demonstration's people."""

    def __init__(self, stage: Stage, port: int) -> None:
        folder = stage.world.folder
        held = {name: Shown(folder / f"{name}.pem", folder / f"{name}.key") for name in ("alice", "bob", *BAD)}
        bad = {name: held[name] for name in BAD}
        tokens = stage.token("alice"), stage.token("olga")
        self._clients = Clients(*tokens, held["alice"], held["bob"], bad=bad, other_host=NEIGHBOUR_HOST)
        target = Endpoint(HOST, port, address=("127.0.0.1", port), server_name="localhost", roots=folder / "roots.pem")
        self._dialer = Dialer(target, a_second=UNHURRIED, most=sys.maxsize)

    def shown(self) -> Iterator[str]:
        """What gets past the check, or reaches the application, and must not."""
        if not self.speaks_tls():
            if plain_http(self._dialer):
                yield "no TLS"
            return
        if not self._honest().status and not self._dialer.ask(Question()).status:
            return
        for probe in self._probes():
            if any(self._way_round(probe, question) for question in probe.questions):
                yield probe.what

    def _honest(self) -> Response:
        return self._dialer.ask(Question(self._clients.good, self._clients.token))

    def _way_round(self, probe: Probe, question: Question) -> bool:
        answer = self._dialer.ask(question)
        return answer.received is not None and probe.bad(answer)

    def _probes(self) -> Iterator[Probe]:
        yield from identity_probes(self._clients)
        yield from certificate_probes(self._clients)
        yield from forged_probes(self._clients)
        yield from host_probes(self._clients, self._dialer.target)
        yield from arriving_probes(self._clients)

    def speaks_tls(self) -> bool:
        """Whether it ends a handshake."""
        return self._dialer.speaks_tls()

    def down(self) -> Iterator[str]:
        """The same while the service does not answer."""
        nobody = Question()
        if self.speaks_tls() and any(each.received for each in (self._honest(), self._dialer.ask(nobody))):
            yield "the service down"


def envoy_rows(folder: Path) -> list[Row]:
    """Every mutant of Envoy that Envoy takes."""
    stage = Stage(folder)
    mutants = list(envoy_mutants())
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(lambda mutant: _envoy_takes(stage, folder, mutant), mutants))
    kept = [mutant for mutant, good in zip(mutants, taken, strict=True) if good]
    envoy = _Many(stage, folder, kept)
    with running(stage.application, stage.service, envoy):
        usual = _shown(stage, envoy, envoy.port)
        shown = [_shown(stage, envoy, port) - usual for port in envoy.ports]
        stage.service.stop()
        for found, port in zip(shown, envoy.ports, strict=True):
            if CRASHES not in found:
                found.update(Probes(stage, port).down())
    refused = [Row("envoy", mutant.what, None, set()) for mutant, good in zip(mutants, taken, strict=True) if not good]
    return [Row("envoy", one.what, found, one.rules) for one, found in zip(kept, shown, strict=True)] + refused


def _shown(stage: Stage, envoy: Envoy, port: int) -> set[str]:
    found = set(Probes(stage, port).shown())
    if Probes(stage, envoy.port).speaks_tls():
        return found
    # Envoy 1.40 itself ends over some: a check without a service, say. The others are to be seen all the same.
    if envoy.process is not None:
        envoy.process.wait()
    envoy.start()
    return {CRASHES}


def _places(stage: Stage) -> dict[str, str]:
    return {"/run/authz/authz.sock": str(stage.world.socket), "/etc/envoy/tls/": f"{stage.world.folder}/"}


def _text(stage: Stage, config: Any) -> str:
    text = yaml.safe_dump(copy.deepcopy(config))
    for shipped, place in _places(stage).items():
        text = text.replace(shipped, place)
    return text.replace("port_value: 8080", f"port_value: {stage.application.port}")


def _envoy_takes(stage: Stage, folder: Path, mutant: Mutant) -> bool:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=folder) as held:
        held.write(_text(stage, mutant.config))
        held.flush()
        call = [str(envoy_binary()), "--mode", "validate", "-c", held.name, "--use-dynamic-base-id", "-l", "off"]
        return subprocess.run(call, capture_output=True, check=False).returncode == 0


class _Many(Envoy):
    """One Envoy with the first listener of each mutant."""

    def __init__(self, stage: Stage, folder: Path, mutants: list[Mutant]) -> None:
        super().__init__(folder, stage.world.socket, application=stage.application.port)
        text = self._config.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
        # Those of its own listeners are free until it starts, and so may be among them.
        free = [port for port in free_ports(len(mutants) + 10) if str(port) not in text]
        self.ports = free[: len(mutants)]
        for number, (mutant, port) in enumerate(zip(mutants, self.ports, strict=True)):
            made = yaml.safe_load(_text(stage, mutant.config))["static_resources"]
            listener, cluster = made["listeners"][0], made["clusters"][0]
            listener["name"] = f"mutant-{number}"
            listener["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
            if mutant.cluster:
                text = yaml.safe_dump(copy.deepcopy(listener)).replace("cluster: authz", f"cluster: authz-{number}")
                listener, cluster["name"] = yaml.safe_load(text), f"authz-{number}"
                config["static_resources"]["clusters"].append(cluster)
            config["static_resources"]["listeners"].append(listener)
        self._config.write_text(yaml.safe_dump(config), encoding="utf-8")


def nginx_rows(folder: Path) -> Iterator[Row]:
    """Every mutant of nginx, one at a time."""
    stage = NginxStage(folder)
    with running(stage.application, stage.service):
        usual = _at_nginx(stage, NGINX, Probes.shown) or set()
        found = [_at_nginx(stage, mutant.text, Probes.shown) for mutant in nginx_mutants()]
        stage.service.stop()
        for shown, mutant in zip(found, nginx_mutants(), strict=True):
            if shown is None:
                yield Row("nginx", mutant.what, None, set())
            else:
                down = _at_nginx(stage, mutant.text, Probes.down) or set()
                yield Row("nginx", mutant.what, (shown | down) - usual, mutant.rules)


def _at_nginx(stage: NginxStage, text: str, probe: Callable[[Probes], Iterator[str]]) -> set[str] | None:
    """What the probes show at either port, by which; nothing if nginx does not start."""
    folder = Path(tempfile.mkdtemp(dir=stage.world.folder))
    try:
        nginx = Nginx(stage.world, application=stage.application.port, folder=folder, text=text)
        with running(nginx):
            ordinary = {f"{what} (8444)" for what in probe(Probes(stage, nginx.ordinary_port))}
            return {*probe(Probes(stage, nginx.port)), *ordinary}
    except ConfigError:
        return None


def main() -> int:
    """Compare, or write, the table; 1 if a way round is not named, or the table differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        rows = [*envoy_rows(Path(first)), *nginx_rows(Path(second))]
    unnamed = [row for row in rows if (row.shown or set()) - {CRASHES} and not row.named]
    for row in unnamed:
        sys.stderr.write(f"not named: {row.proxy} {row.what}: {', '.join(sorted(row.shown or ()))}\n")
    page = page_of(rows)
    if write:
        PAGE.write_text(page, encoding="utf-8")
    same = PAGE.read_text(encoding="utf-8") == page
    sys.stderr.write(
        f"{len(rows)} mutants, {len(unnamed)} ways round not named; the table is {'' if same else 'not '}current\n"
    )
    return 1 if unnamed or not same else 0


if __name__ == "__main__":
    sys.exit(main())
