"""What a page of docs/ has in fenced blocks, applied to files and run by the real proxies."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from authz.demo import Stage
from authz.demo.processes import Envoy
from authz.doctor.findings import ConfigFile
from authz.doctor.lint import lint_sources
from support.second_envoy import FILES

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are in `language`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"(?m)^```{language}\n(.*?)^```$", text, re.DOTALL)


def patched(text: str, diff: str) -> str:
    """`text` after `patch` has applied `diff`, all of it and exactly."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text(text, encoding="utf-8")
        run = ["patch", "--fuzz=0", "--no-backup-if-mismatch", str(path)]
        done = subprocess.run(run, input=diff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        return path.read_text(encoding="utf-8")


def linted(name: str, text: str) -> list[str]:
    """What `authz doctor lint` has against a configuration, with what it did not understand."""
    report = lint_sources([ConfigFile(name, text)])
    return [] if report.clean else [str(hit) for hit in (*report.findings, *report.not_understood)]


class PlacedEnvoy(Envoy):
    """Envoy with a configuration that names the paths and ports of `deploy/envoy.yaml`, or some of them."""

    def __init__(self, stage: Stage, folder: Path, text: str, *, application: int) -> None:
        for name in FILES:
            shutil.copy(stage.world.folder / name, folder / name)
        super().__init__(folder, stage.world.socket, application=application)
        places = {
            "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {self.port}",
            "0.0.0.0, port_value: 8444": f"127.0.0.1, port_value: {self.ordinary_port}",
            "127.0.0.1, port_value: 8080": f"127.0.0.1, port_value: {application}",
            "/run/authz/authz.sock": str(stage.world.socket),
            "/etc/envoy/tls/": f"{folder}/",
        }
        for shipped_place, place in places.items():
            text = text.replace(shipped_place, place)
        self._config.write_text(text, encoding="utf-8")
