"""docs/doctor-mutants.md: what the probes showed of each mutant, and what lint names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).parents[2] / "docs" / "doctor-mutants.md"

_HEAD: Final = """# Mutants

Each line of `deploy/envoy.yaml` and `deploy/nginx.conf` is taken out or turned, the proxy started with it, and probed:
without a token, with other users' and with bad certificates, with forged headers of every kind, odd paths and hosts,
and with the service down. Whatever a probe then shows, [lint](doctor.md) must name. `make mutants` does it, and
compares this page with what it finds.

"""


class Row(NamedTuple):
    """A mutant: what the probes showed (None: the proxy does not start), and the rules that lint names."""

    proxy: str
    what: str
    shown: set[str] | None
    named: set[str]


def page_of(rows: Iterable[Row]) -> str:
    """The page; mutants of which there is nothing to say are counted."""
    lines = [_HEAD]
    rows = list(rows)
    for proxy in ("envoy", "nginx"):
        mine = [row for row in rows if row.proxy == proxy]
        refused = sum(row.shown is None for row in mine)
        silent = sum(row.shown == set() and not row.named for row in mine)
        lines += [
            f"## {proxy}",
            "",
            f"{len(mine)} mutants; {refused} of them {proxy} does not take, and of {silent} neither a",
        ]
        lines += ["probe nor lint says anything.", "", "| changed | a probe shows | lint names |", "|---|---|---|"]
        lines += [_line(row) for row in mine if row.shown or (row.shown is not None and row.named)]
        lines.append("")
    return "\n".join(lines)


def _line(row: Row) -> str:
    cells = (f"`{row.what}`", ", ".join(sorted(row.shown or ())), " ".join(f"`{rule}`" for rule in sorted(row.named)))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def read_page() -> list[tuple[str, str, set[str]]]:
    """Each row of the page: the mutant, what a probe showed, what lint named."""
    found = re.findall(r"^\| `(.+)` \| (.*) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [(what, shown, set(re.findall(r"`(\S+)`", named))) for what, shown, named in found]
