"""The shipped configurations with each line taken out or turned, and what `authz doctor lint` names of each."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from authz.doctor.findings import ConfigFile
from authz.doctor.nginx.reader import Directive, read_directives
from support.doctor_faults import ENVOY, NGINX, rules_of

Path = tuple[str | int, ...]

TURNED: Final[dict[object, tuple[object, ...]]] = {
    True: (False,),
    False: (True,),
    "SANITIZE_SET": ("SANITIZE", "APPEND_FORWARD", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY"),
    "REJECT_REQUEST": ("ALLOW", "KEEP_UNCHANGED"),
    "TLSv1_2": ("TLSv1_0",),
}
"""What a value of Envoy's is turned into."""

_SWITCHED: Final = {"on": "off", "off": "on", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change; `config` is Envoy's as YAML has it, `text` what lint reads."""

    proxy: str
    what: str
    text: str
    config: Any = None
    cluster: bool = False
    """Whether the service's cluster was changed, and not the listener."""

    @property
    def rules(self) -> set[str]:
        """What lint names."""
        return rules_of(self.text, "envoy.yaml" if self.proxy == "envoy" else "nginx.conf")


def envoy_mutants() -> Iterator[Mutant]:
    """Each field and item of the first listener and of the service's cluster taken out; flags and choices turned.

    The second listener shares the first one's filters, so that a change of them is one of both.
    """
    shipped = yaml.safe_load(ENVOY)
    for root in (("listeners", 0), ("clusters", 0)):
        start = ("static_resources", *root)
        for path in paths_in(at(shipped, start), start):
            yield _mutant(shipped, path, "out", None)
            for value in TURNED.get(_scalar(at(shipped, path)), ()):
                yield _mutant(shipped, path, str(value).lower() if isinstance(value, bool) else str(value), value)


def _scalar(value: object) -> object:
    return value if isinstance(value, (bool, str)) else None


def paths_in(value: object, path: Path) -> Iterator[Path]:
    """The path of everything below a value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from paths_in(inner, (*path, key))


def at(config: Any, path: Path) -> Any:
    """What stands at a path."""
    for key in path:
        config = config[key]
    return config


def _mutant(shipped: Any, path: Path, how: str, value: object) -> Mutant:
    config = copy.deepcopy(shipped)
    holder = at(config, path[:-1])
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return Mutant("envoy", f"{_name(path)}: {how}", dumped(config), config, cluster=path[1] == "clusters")


def dumped(config: object) -> str:
    """The configuration as YAML, by the C library: Python's own takes a tenth of a second."""
    return str(yaml.dump(copy.deepcopy(config), Dumper=yaml.CSafeDumper))


def _name(path: Path) -> str:
    """A path as a reader finds it: from the connection manager or the socket on."""
    words = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in path[1:]]
    name = "".join(words).removeprefix(".listeners[0].filter_chains[0]").replace(".typed_config.", ".")
    return name.replace(".filters[0]", "hcm", 1).removeprefix(".").replace(".listeners[0]", "listener")


def nginx_mutants() -> Iterator[Mutant]:
    """Each directive taken out, and each switch turned."""
    source = ConfigFile("nginx.conf", NGINX)
    for root in read_directives([source], []):
        for directive, within in _directives(root, ""):
            changes = [("out", "")]
            if directive.args and directive.args[-1] in _SWITCHED:
                turned = (directive.name, *directive.args[:-1], _SWITCHED[directive.args[-1]])
                changes.append((turned[-1], " ".join(turned) + ";"))
            for how, text in changes:
                (edit,) = directive.replaced(text)
                place = f"{within}{directive.text}"
                yield Mutant("nginx", f"{place}: {how}", NGINX[: edit.start] + edit.text + NGINX[edit.end :])


def _directives(directive: Directive, within: str) -> Iterator[tuple[Directive, str]]:
    if directive.block is None:
        if directive.name not in {"log_format", "access_log", "error_log"}:
            yield directive, within
        return
    listens = next((each.arg for each in directive.inside("listen")), "")
    inner = f"{within}{directive.text} {listens}".rstrip() + " > " if directive.name != "http" else within
    for each in directive.block:
        yield from _directives(each, inner)
