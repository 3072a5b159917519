"""The documentation is true: what is made from the code is current, what is a session works."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from support.certificates import Authority, chain_pem
from support.command_world import Run, authz
from support.decision_world import ALICE, CA, CrlStates, Reported, Says, decide, request
from support.generate_docs import PAGES, ROOT, with_encodings, with_reasons
from support.metrics_text import metrics_of
from support.operator_files import write_files

from authz.app.config import parse_settings
from authz.app.listeners import listener_of
from authz.clock import SystemClock
from authz.headers import READABLE
from authz.model import IndicatorForm
from authz.supervision.metrics import ProcessMetrics
from authz.telemetry import Telemetry
from authz.view import Listener

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(PAGES))
def test_page_made_from_the_code_is_current(page: str) -> None:
    """`python tests/support/generate_docs.py` makes it anew."""
    assert (ROOT / page).read_text(encoding="utf-8") == PAGES[page]()


def test_readme_has_every_reason() -> None:
    """And none that is gone."""
    assert with_reasons(README) == README
    validation = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    assert with_encodings(validation) == validation
    assert "PrintableString with other" in validation


def test_readme_is_short() -> None:
    """At most 200 lines; the rest is in docs/."""
    assert len(README.splitlines()) <= 200


PAGES_WRITTEN = ["README.md", "CHANGELOG.md", ".github/SECURITY.md", ".github/CONTRIBUTING.md"]
PAGES_WRITTEN += sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`: the headings, in lower case, with hyphens for spaces and no other signs."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES_WRITTEN)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative one, to a file or folder that exists and to a heading that the page has."""
    for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", (ROOT / page).read_text(encoding="utf-8")):
        if not target.startswith("http"):
            path = (ROOT / page).parent / target if target else ROOT / page
            assert path.exists(), target
            assert not heading or heading in anchors(path), f"{target}#{heading}"


CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_guide_for_contributors_is_short() -> None:
    """At most 120 lines."""
    assert len(CONTRIBUTING.splitlines()) <= 120


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:authz|tests|docs|deploy|\.ci)/[\w./-]+)`", CONTRIBUTING)))
)
def test_file_that_the_guide_names_exists(path: str) -> None:
    """A recipe leads to the place where the thing is done."""
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z]+)", CONTRIBUTING + README))))
def test_target_that_a_page_names_exists(target: str) -> None:
    """In the Makefile."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.slow
def test_every_name_that_the_guide_gives_is_in_the_code() -> None:
    """Classes, constants, tests and functions, as whole words."""
    names = re.findall(r"`(_?[A-Z][A-Za-z_]{4,}|test_\w+|down_revision)`", CONTRIBUTING)
    code = " ".join(
        path.read_text(encoding="utf-8") for room in ("authz", "tests") for path in (ROOT / room).rglob("*.py")
    )
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []
    assert len(names) >= 5


def test_glossary_explains_each_term_once_and_says_where_it_comes_from() -> None:
    """Some 45 terms: what each means, and its clause, its field, or a dash for a word of our own."""
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| (?!term ).+\|$", page, re.MULTILINE)
    ]
    terms = [row[0] for row in rows]
    assert len(terms) == len(set(terms)) >= 45
    assert all(len(row) == 3 and row[1] and row[2] for row in rows)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What an operator types, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///authz.db")
    return authz


@pytest.mark.slow
def test_readme_session_works(typed: Run, tmp_path: Path) -> None:
    """Every `authz` line of the session, in order, on an operator's files; tests/clone has the service run."""
    write_files(tmp_path)
    lines = re.findall(r"^\$ authz (?!--config)(.+)$", README, re.MULTILINE)
    assert len(lines) == 10
    for line in lines:
        done = typed(*shlex.split(line))
        assert done.code == 0, line + done.err
    assert (tmp_path / "client-ca.yaml").exists()


SETTINGS = [
    (page, text)
    for page in sorted(PAGES_WRITTEN)
    for text in re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(("page", "text"), SETTINGS)
def test_settings_of_the_documentation_are_settings(page: str, text: str, tmp_path: Path) -> None:
    """Each block is accepted whole, and each listener makes a listener."""
    gateways = tmp_path / "mesh-ca.pem"
    gateways.write_text(Authority.root().pem)
    text = re.sub(r"/etc/authz/(anchors/)?mesh-ca\.pem", str(gateways), text)
    for listener in parse_settings(tomllib.loads(text), origin=page).listener:
        assert listener_of(listener).name == listener.name


def test_every_form_of_certificate_header_and_statement_is_documented() -> None:
    """By the name it has in the settings."""
    page = (ROOT / "docs" / "listeners.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) - {"form"} == {*READABLE, *IndicatorForm}


@pytest.mark.slow
def test_nginx_page_says_what_the_operator_types(typed: Run, tmp_path: Path) -> None:
    """The `authz` lines of docs/nginx.md, on a directory that has the organization."""
    page = (ROOT / "docs" / "nginx.md").read_text(encoding="utf-8").replace("/etc/nginx/tls/", "")
    (tmp_path / "roots.pem").write_text(Authority.root().pem)
    lines = ["db init", "org add acme --host api.acme.example", "anchor add acme roots.pem"]
    lines += re.findall(r"^\$ authz (.+)$", page, re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        done = typed(*shlex.split(line))
        assert done.code == 0, line + done.err
    assert (tmp_path / "client-ca.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.slow
def test_mesh_page_says_what_the_operator_types(typed: Run, tmp_path: Path) -> None:
    """The `authz` lines that docs/mesh.md has run in a pod, and the files that the others name are there."""
    page = (ROOT / "docs" / "mesh.md").read_text(encoding="utf-8")
    for path in re.findall(r"kubectl apply -f (\S+)", page):
        assert (ROOT / path).exists(), path
    now = datetime.now(UTC)
    life = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=30)}
    root = Authority.root(**life)
    (tmp_path / "acme-roots.pem").write_text(root.pem)
    lines = re.findall(r"^\$ kubectl .* exec (?:-i )?deploy/authz -- authz (.+)$", page, re.MULTILINE)
    assert len(lines) == 5
    typed("db", "init")
    for line in lines:
        words = shlex.split(re.split(" [<>] ", line.replace("/etc/authz/anchors/", ""))[0])
        if " < " in line:
            text = chain_pem(root.leaf("alice", **life))
            command = [sys.executable, "-m", "authz", *words]
            subprocess.run(command, check=True, capture_output=True, input=text, text=True)
        else:
            done = typed(*words)
            assert done.code == 0, line + done.err
    assert done.out == root.pem  # what " > ca.crt" takes


def test_metrics_of_the_documentation_are_the_ones_exported() -> None:
    """By name."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(authz_\w+)`", page, re.MULTILINE))
    telemetry = Telemetry()
    telemetry.watch(CrlStates(), SystemClock())
    telemetry.watch_directory(Reported(), CrlStates(), dict, SystemClock())
    telemetry.registry.register(ProcessMetrics())
    exported = re.findall(rb"^# TYPE (authz_\w+) ", metrics_of(telemetry), re.MULTILINE)
    assert documented == {one.decode() for one in exported if not one.endswith(b"_created")}


def test_log_fields_of_the_documentation_are_the_ones_written() -> None:
    """Every one that a decision's line can have is explained."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    documented = {
        name for row in re.findall(r"^\| (`[a-z_`, ]+) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    listener = Listener("d", (Says("alice"),))
    trace = (b"traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")
    for chain in ((ALICE, CA), ()):
        check, output = request(*chain, headers=(trace,)), BytesIO()
        Telemetry(output).decided(check, listener, decide(check), 0)
        assert set(json.loads(output.getvalue())) <= documented


def test_library_example_works() -> None:
    """The code of docs/validation.md, run on a chain that is good today and on one that is not."""
    page = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "validation.md", "exec"), names)  # noqa: S102 - it is ours
    now = datetime.now(UTC)
    life = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=30)}
    root = Authority.root("Root", **life)
    crl = root.crl(this_update=now - timedelta(hours=1), next_update=now + timedelta(days=1))
    describe = names["describe"]
    assert callable(describe)
    assert describe(root.leaf("alice", **life).der, [], [root.der], [crl]) == "CN=alice <- CN=Root"
    assert describe(root.leaf("alice", **life).der, [], [root.der], []).startswith("revocation_unknown: ")


def test_comparison_is_short_and_each_cell_of_another_has_its_source() -> None:
    """At most 60 lines; every source that is named stands in the list, with its date, and no other."""
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 60
    table, listed = page.split("## Sources")
    sources = dict(re.findall(r"^\| ([A-Z]\d) \| .+ \| (20\d\d-\d\d) \|$", listed, re.MULTILINE))
    assert set(re.findall(r"\[([A-Z]\d)\]", table)) == set(sources)
    others = [line.strip("|").split("|") for line in table.splitlines() if re.match(r"\| (?!mtls-authz)\w", line)]
    for name, stands, *cells in others:
        assert all("[" in cell or "not compared" in cell for cell in cells), name
        assert "[" in stands or stands.strip() == "in the proxy"
