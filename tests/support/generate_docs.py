"""Writes the parts of the documentation that are made from the code: `python tests/support/generate_docs.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from authz.admin.documents import json_schema
from authz.app.config import IdentitySettings, ListenerSettings, Settings, TlsSettings, TrustedProxySettings
from authz.cli import app, load
from authz.doctor.findings import SEEN, Rule
from authz.doctor.rules import ENVOY_RULES, NGINX_RULES
from authz.pki.x509.tolerated import TOLERATED
from authz.reasons import Gate, Reason

ROOT = Path(__file__).parents[2]


def reasons_short() -> str:
    """The README's table: gates, statuses, names."""
    lines = ["| gate | status | reasons |", "|---|---|---|"]
    for gate in Gate:
        for status in (401, 403, 503):
            names = [f"`{one.value}`" for one in Reason if one.gate is gate and one.status == status]
            if names:
                lines.append(f"| {gate} | {status} | {' '.join(names)} |")
    return "\n".join(lines)


def reasons_page() -> str:
    """docs/reasons.md."""
    lines = ["# Reasons", "", "Made from `authz/reasons.py`.", ""]
    for gate in Gate:
        lines += [f"## {gate}", "", "| reason | status | means |", "|---|---|---|"]
        lines += [f"| `{one.value}` | {one.status} | {one.sentence} |" for one in Reason if one.gate is gate]
        lines.append("")
    return "\n".join(lines)


def settings_page() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "A TOML file (`authz --config authz.toml`), and over it variables: `AUTHZ_DATABASE`, `AUTHZ_OPS__ADDRESS`",
        "and so on, two underscores between section and setting; a list or a whole section is JSON. Unknown settings",
        "and variables are errors, which name the nearest one. The variables that Kubernetes makes of a Service's name",
        "(`AUTHZ_SERVICE_HOST`, `AUTHZ_PORT_…`) are passed over; the log names them.",
        "Made from `authz/app/config.py`.",
        "",
        "```toml",
        'database = "sqlite:////var/lib/authz/authz.db"',
        "",
        "[[listener]]",
        'name = "envoy"',
        'address = "unix:/run/authz/authz.sock"',
        'socket_group = "envoy"',
        "```",
        "",
    ]
    for title, model in (("Top level", Settings), ("`[[listener]]`", ListenerSettings)):
        lines += _table(title, model)
    for name, field in ListenerSettings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines += _table(f"`[listener.{name}]`", field.annotation)
    for model in get_args(get_args(IdentitySettings)[0]):
        kind = get_args(model.model_fields["kind"].annotation)[0]
        lines += _table(f"`[[listener.identity]]`, kind `{kind}`", model)
    lines += _table("`[listener.tls]` and `[ops.tls]`", TlsSettings)
    lines += _table("`[[listener.trusted_proxies]]`", TrustedProxySettings)
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines += _table(f"`[{name}]`", field.annotation)
    return "\n".join(lines)


def _table(title: str, model: type[BaseModel]) -> list[str]:
    lines = [f"## {title}", "", "| setting | default | is |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if field.description:
            lines.append(f"| `{name}` | {_default(field.default)} | {field.description} |")
    return [*lines, ""]


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "one, with these defaults" if value else "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


DOCTOR = ROOT / "tests" / "doctor" / "page.md"
"""What stands before the tables of docs/doctor.md."""


def doctor_page() -> str:
    """docs/doctor.md."""
    lines = [DOCTOR.read_text(encoding="utf-8")]
    for title, rules in (("Envoy", ENVOY_RULES), ("nginx", NGINX_RULES)):
        lines += [
            f"## Rules for {title}",
            "",
            "| rule | severity | what, and why | source | shown |",
            "|---|---|---|---|---|",
        ]
        lines += [*map(_rule_row, rules), ""]
    return "\n".join(lines)


def _rule_row(rule: Rule[Any]) -> str:
    shown = "seen" if rule.proof == SEEN else rule.proof
    cells = (f"`{rule.id}`", rule.severity, f"{rule.what}. {rule.why}", rule.source.replace("; seen", ""), shown)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def command_page() -> str:
    """docs/command.md."""
    lines = [
        "# The command",
        "",
        "Every verb's own help. `authz --install-completion` has your shell complete verbs, options and their values;",
        "`make man` writes the same as man pages to `dist/man`.",
        "",
    ]
    for path, text in _helps(typer.main.get_command(app), ("authz",)):
        lines += [f"## {' '.join(path)}", "", "```text", text, "```", ""]
    return "\n".join(lines)


def _helps(command: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    context = command.make_context(path[-1], [], resilient_parsing=True)  # type: ignore[attr-defined]
    context.info_name = " ".join(path)
    context.terminal_width = 100
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())  # type: ignore[attr-defined]
    for name, child in getattr(command, "commands", {}).items():
        yield from _helps(load(name) if path == ("authz",) else child, (*path, name))


def with_reasons(readme: str) -> str:
    """The README with its table of reasons."""
    marks = r"(<!-- reasons: begin -->\n).*?(<!-- reasons: end -->)"
    return re.sub(marks, lambda found: found[1] + reasons_short() + "\n" + found[2], readme, flags=re.DOTALL)


def with_encodings(page: str) -> str:
    """docs/validation.md with its table of tolerated encodings."""
    rows = ["| encoding | clause | read by | signed by |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(row) + " |" for row in TOLERATED]
    marks = r"(<!-- encodings: begin -->\n).*?(<!-- encodings: end -->)"
    return re.sub(marks, lambda found: found[1] + "\n".join(rows) + "\n" + found[2], page, flags=re.DOTALL)


def schema_file() -> str:
    """deploy/directory.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


PAGES = {
    "docs/reasons.md": reasons_page,
    "docs/configuration.md": settings_page,
    "docs/command.md": command_page,
    "docs/doctor.md": doctor_page,
    "deploy/directory.schema.json": schema_file,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (ROOT / page).write_text(make(), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_reasons(readme.read_text(encoding="utf-8")), encoding="utf-8")
    validation = ROOT / "docs" / "validation.md"
    validation.write_text(with_encodings(validation.read_text(encoding="utf-8")), encoding="utf-8")
