"""`authz doctor probe` before the real Envoy and nginx: as shipped everything holds, and what is weakened is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_world import Done, authz

from authz.cli.canary import CANARY
from authz.demo import Stage
from authz.demo.mint import AUDIENCE, ISSUER
from authz.demo.processes import running
from authz.demo.world import ORGANIZATION_CLAIM
from authz.envoy_sds import replace_file, sds_secret

HOST = "unknown.example.test"
"""A name of the demonstration's proxies that no organization has."""


def prepared(stage: Stage) -> Path:
    """A canary, with tokens of the demonstration's issuer, which is the one that its Envoy knows."""
    folder = stage.world.folder / "canary"
    options = ("--issuer", ISSUER, "--audience", AUDIENCE, "--organization-claim", ORGANIZATION_CLAIM)
    keys = ("--keys", str(stage.world.keys))
    done = authz(*where(stage), "doctor", "prepare", str(folder), "--host", HOST, *options, *keys)
    assert done.code == 0, done.err
    for name, user in (("token", "canary"), ("off", "canary-off")):
        token = stage.world.mint.token(user, **{ORGANIZATION_CLAIM: CANARY})
        (stage.world.folder / f"canary-{name}").write_text(token, encoding="ascii")
    return folder


def where(stage: Stage) -> tuple[str, str]:
    """The settings of the stage's service."""
    return "--config", str(stage.world.folder / "authz.toml")


def probed(stage: Stage, port: int, *options: str) -> tuple[Done, dict[str, dict[str, str]]]:
    """What the command finds, by the verdict, then the probe."""
    world = stage.world.folder
    tokens = ("--token", str(world / "canary-token"), "--off-token", str(world / "canary-off"))
    found = ("--canary", str(world / "canary"), *tokens, "--roots", str(world / "roots.pem"))
    connect = ("--connect", f"127.0.0.1:{port}")
    done = authz(*where(stage), "doctor", "probe", f"https://{HOST}/", *connect, *found, "--json", *options)
    verdicts: dict[str, dict[str, str]] = {"held": {}, "way round": {}, "not proven": {}}
    for each in json.loads(done.out)["probes"]:
        verdicts[each["verdict"]][each["probe"]] = each["detail"]
    return done, verdicts


@pytest.fixture(scope="module")
def stage(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demonstration before Envoy, with a canary whose CA Envoy knows too."""
    made = Stage(tmp_path_factory.mktemp("probed"))
    folder = prepared(made)
    secret = sds_secret(made.world.bundle + (folder / "root.pem").read_text())
    replace_file(made.world.folder / "client-ca.yaml", secret)
    with running(made.application, made.service, made.envoy):
        yield made


def test_shipped_envoy_holds(stage: Stage, curl: str, openssl: str) -> None:
    """Every probe, with nothing unproven."""
    done, verdicts = probed(stage, stage.envoy.port)
    assert (verdicts["way round"], verdicts["not proven"], done.code) == ({}, {}, 0)
