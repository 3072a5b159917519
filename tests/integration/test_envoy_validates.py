"""Every Envoy configuration of deploy/, as Envoy itself judges it; test_mesh_gateways.py has the meshes'."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.manifests import DEPLOY
from support.mesh_stage import MeshStage
from support.nginx_stage import placed
from test_proxy_tls import Scene

from authz.demo import Stage
from authz.demo.processes import envoy_binary

pytestmark = pytest.mark.envoy


def _written(stage: Stage, name: str) -> Path:
    """The configuration of one of a stage's Envoys; the stage is not started."""
    stage.application._server.server_close()
    return getattr(stage, name)._config


def _envoy(folder: Path) -> Path:
    return _written(Stage(folder), "envoy")


def _gateway(folder: Path) -> Path:
    return _written(MeshStage(folder), "gateway")


def _sidecar(folder: Path) -> Path:
    return _written(MeshStage(folder), "sidecar")


def _mtls(folder: Path) -> Path:
    return _written(Scene(folder), "envoy")


SHIPPED: dict[str, Callable[[Path], Path]] = {
    "envoy.yaml": _envoy,
    "envoy-gateway.yaml": _gateway,
    "envoy-mtls.yaml": _mtls,
}


def validated(path: Path) -> subprocess.CompletedProcess[str]:
    """What Envoy says of a configuration."""
    command = [str(envoy_binary()), "--mode", "validate", "--use-dynamic-base-id", "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_no_file_is_forgotten() -> None:
    """Each of the Envoys' files has a row here; those of deploy/istio and deploy/envoy-gateway are manifests."""
    assert {path.name for path in DEPLOY.glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("make", [*SHIPPED.values(), _sidecar])
def test_shipped_configuration_validates(envoy: None, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Nothing is wrong with it, and nothing in it is going to be."""
    done = validated(make(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


@pytest.mark.parametrize("make", SHIPPED.values())
@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("STATIC", "STATICK"),
        ("forward_client_cert_details: SANITIZE_SET", "forward_client_cert_detail: SANITIZE_SET"),
    ],
)
def test_broken_configuration_is_refused(
    envoy: None, tmp_path: Path, make: Callable[[Path], Path], was: str, becomes: str
) -> None:
    """The judge that finds nothing wrong above can find something."""
    path = make(tmp_path)
    path.write_text(placed(path.read_text(encoding="utf-8"), {was: becomes}), encoding="utf-8")
    assert validated(path).returncode != 0
