"""Another Envoy in front of a stage's application, with something about it changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from authz.demo import Stage
from authz.demo.processes import Envoy

FILES = ("server.pem", "server.key", "client-ca.yaml", "jwks.json")


class SecondEnvoy(Envoy):
    """The stage's configuration and files, in a folder of its own; `change` is given the configuration as YAML has it.

    It asks at `socket`, the stage's own service if that is not given.
    """

    def __init__(
        self, stage: Stage, folder: Path, *, socket: Path | None = None, change: Callable[[Any], None] | None = None
    ) -> None:
        for name in FILES:
            shutil.copy(stage.world.folder / name, folder / name)
        super().__init__(folder, socket or stage.world.socket, application=stage.application.port)
        if change is not None:
            config = yaml.safe_load(self._config.read_text(encoding="utf-8"))
            change(config)
            self._config.write_text(yaml.safe_dump(config), encoding="utf-8")


def connection_manager(config: Any, listener: int = 0) -> Any:
    """The HTTP connection manager of a listener."""
    return config["static_resources"]["listeners"][listener]["filter_chains"][0]["filters"][0]["typed_config"]
