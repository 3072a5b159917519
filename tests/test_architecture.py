"""The map of docs/architecture.md, held: levels, no cycles, a pure core, proofs made in one place, reasons produced."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from authz.decision import Allow
from authz.pki import NotRevoked, VerifiedPath
from authz.reasons import Reason

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "authz"

LEVELS = {
    "reasons": 0, "errors": 0, "model": 0, "text": 0,
    "headers": 1, "pki": 1, "binding": 1, "host": 1,
    "decision": 2, "view": 2, "row_parts": 2,
    "service": 3, "ports": 3, "deadline": 3, "turns": 3,
    "web": 4, "directory": 4, "identity": 4, "crls": 4, "telemetry": 4, "clock": 4, "blocking_calls": 4, "ipc": 4,
    "admin": 4,
    "doctor": 4,
    "app": 5, "supervision": 5,
    "envoy_sds": 5, "cli": 5, "demo": 5, "__main__": 5, "__init__": 0,
}  # fmt: skip
ADAPTERS = {"web", "directory", "identity", "crls", "doctor"}
IMPURE = {
    "asyncio", "aiohttp", "sqlite3", "sqlalchemy", "socket", "ssl", "os", "time", "random", "logging",
    "threading", "secrets", "pathlib", "subprocess", "urllib.request", "http.client",
}  # fmt: skip


def room(module: str) -> str:
    """The room a module of the package is in: `authz.pki.x509.distinguished_name` is in `pki`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def names_of_modules() -> frozenset[str]:
    """The dotted name of every module."""
    return frozenset(map(dotted, PACKAGE.rglob("*.py")))


def dotted(path: Path) -> str:
    """A module's name by its path."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed."""
    return {dotted(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}


def imports(tree: ast.AST, *, typing_too: bool = False) -> list[str]:
    """The modules a tree imports when it runs; with `typing_too` also those for the type checker."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing_too:
            continue
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{one.name}" for one in node.names]
            found += [name if name in names_of_modules() else node.module for name in names]
        else:
            found += imports(node, typing_too=typing_too)
    return found


@pytest.mark.parametrize("module", sorted(names_of_modules()))
def test_imports_go_down_only(module: str) -> None:
    """A room imports its own level's or a lower one's, an adapter no other adapter, and only level 5 imports `admin`.

    `admin` is no adapter, but stands above them on their level: it changes the directory and checks what `identity`
    will read.
    """
    here = room(module)
    for target in imports(modules()[module]):
        there = room(target)
        if not target.startswith("authz") or there == here:
            continue
        assert LEVELS[there] <= LEVELS[here], f"{module} imports {target}"
        assert not (here in ADAPTERS and there in ADAPTERS), f"{module} imports {target}"
        assert there != "admin" or LEVELS[here] == 5, f"{module} imports {target}"


def test_every_room_is_on_the_map() -> None:
    """A new room gets a level, and stands in the documentation."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for one in {room(module) for module in modules()} - {"__init__", "__main__"}:
        assert one in LEVELS
        assert f"{one}/" in page or f"{one}.py" in page, one


def test_way_of_a_crl_is_as_the_page_shows_it() -> None:
    """Each function that the page names exists, and there are at most fifteen."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## A CRL's way\n")[2].partition("\n## ")[0]
    way = re.findall(r"^\| \d+ \| `([\w.]+)` \|", section, re.MULTILINE)
    assert 10 <= len(way) <= 15
    for function in way:
        assert callable(pkgutil.resolve_name(function)), function


def test_there_are_no_cycles() -> None:
    """Between modules, by imports of any kind: those for the type checker count, for they are what a reader follows."""
    graph = {
        name: {target for target in imports(tree, typing_too=True) if target in modules()} - {name}
        for name, tree in modules().items()
    }
    for name, targets in graph.items():
        seen: set[str] = set()
        todo = list(targets)
        while todo:
            target = todo.pop()
            assert target != name, f"{name} is in a cycle"
            if target not in seen:
                seen.add(target)
                todo += graph[target]


@pytest.mark.parametrize("module", sorted(name for name in modules() if LEVELS[room(name)] <= 2))
def test_core_is_pure(module: str) -> None:
    """No async, clock, log, environment, network or SQL below level 3."""
    for one in imports(modules()[module]):
        assert one.split(".")[0] not in IMPURE, one
        assert one not in IMPURE, one
    for node in ast.walk(modules()[module]):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await)
        assert not (isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"})


def test_only_the_service_the_server_and_the_parser_s_callers_catch_everything() -> None:
    """Two in the service, which deny; those that make a refusal of whatever the parser raises, panics among it.

    And the server's, which does for what is answered at once what aiohttp does for its handlers: 503; and the reading
    thread's, which raises where the result is awaited.
    """
    wide = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                kind = "" if node.type is None else ast.unparse(node.type)
                reraises = any(isinstance(one, ast.Raise) and one.exc is None for one in node.body)
                if kind in {"", "Exception", "BaseException"} and not reraises:
                    wide.append(name)
    service = {"authz.service", "authz.web.server", "authz.directory.working_thread"}
    assert set(wide) == {*service, "authz.pki.x509.library", "authz.pki.x509.certificate"}


SERVED_BY = {"web", "app", "supervision", "telemetry", "crls", "identity", "service", "decision"}


@pytest.mark.parametrize("module", sorted(name for name in modules() if room(name) in SERVED_BY))
def test_no_process_of_the_service_can_change_what_is_registered(module: str) -> None:
    """It imports neither `admin`, nor a function that writes, nor the store: whatever it is made to do, it reads."""
    for node in ast.walk(modules()[module]):
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        assert not (isinstance(node, ast.ImportFrom) and room(node.module or "") == "admin"), ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and room(node.module or "") == "directory":
            assert not {"Store", *writing_functions()} & set(names), ast.unparse(node)


def writing_functions() -> set[str]:
    """The functions of `directory` that change what `admin` changes, by the statements in them, and those for many."""
    writing = {"append", "bulk"}
    for name in ("organizations", "users", "registrations", "authorities", "crls", "bulk", "audit"):
        for node in modules()[f"authz.directory.{name}"].body:
            statement = re.search(r"\bsa\.(insert|update|delete)\(", ast.unparse(node))
            if isinstance(node, ast.FunctionDef) and statement and not node.name.startswith("_"):
                writing.add(node.name)
    return writing


def test_only_admin_uses_the_functions_that_write() -> None:
    """Each change has an actor and an entry in the audit log, whatever it comes through."""
    assert {"add_user", "set_user", "register", "retire", "set_registration", "prune"} <= writing_functions()
    for name, tree in modules().items():
        if room(name) in {"admin", "directory"}:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and room(node.module or "") == "directory":
                assert not writing_functions() & {alias.name for alias in node.names}, name
            assert not (isinstance(node, ast.Attribute) and node.attr in {"transaction", "change"}), name
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "store":
                assert node.attr not in writing_functions() | {"add_anchors", "add_intermediates"}, node.attr


CHANGES = {"register", "retire", "transaction"}


@pytest.mark.parametrize("module", sorted(name for name in modules() if room(name) == "cli"))
def test_command_changes_the_directory_by_admin_alone(module: str) -> None:
    """What is verified before a change, and warned of after it, holds for every way by which changes come."""
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "store":
            assert node.attr not in CHANGES, node.attr
            assert not node.attr.startswith(("add_", "set_", "remove_", "ask_")), node.attr


@pytest.mark.parametrize("module", sorted(name for name in modules() if room(name) in {"admin", "directory"}))
def test_errors_below_the_command_do_not_speak_of_it(module: str) -> None:
    """No verb and no option of it in any text: the HTTP interface has neither."""
    tree = modules()[module]
    prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            assert not re.search(r"'authz |(?<!\w)--\w", node.value), node.value
    assert not {"typer", "rich", "sys"} & set(imports(tree))


@pytest.mark.parametrize(
    ("proof", "place"),
    [
        ("VerifiedPath", "authz.pki.path.builder"),
        ("NotRevoked", "authz.pki.revocation.checker"),
        ("Allow", "authz.decision"),
    ],
)
def test_proof_is_made_in_one_place(proof: str, place: str) -> None:
    """No other module calls its constructor."""
    makers = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == proof
    }
    assert makers == {place}


@pytest.mark.parametrize("proof", [VerifiedPath, NotRevoked])
def test_proof_without_the_seal_cannot_be_made(proof: type) -> None:
    """Not even by somebody who tries."""
    arguments = [object()] * (proof.__init__.__code__.co_argcount - 1)  # type: ignore[misc]
    with pytest.raises(TypeError):
        proof(*arguments)
    assert Allow is not None


def test_no_import_stands_inside_a_function() -> None:
    """What a module needs stands at its top."""
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert not any(isinstance(one, ast.Import | ast.ImportFrom) for one in ast.walk(node)), name


def test_public_class_has_a_name_of_its_own() -> None:
    """A reader who meets the name knows which class is meant."""
    names = [node.name for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name, times in Counter(names).items() if times > 1 and not name.startswith("_")] == []


LONGEST_FUNCTION = 42
"""Lines, with its signature and docstring."""


def test_functions_are_short() -> None:
    """A reader sees each whole."""
    functions = (
        (f"{name}.{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert [function for function, lines in functions if lines > LONGEST_FUNCTION] == []


MIRRORED = {"cli", "supervision", "directory"}


def test_module_has_a_test_file_of_its_own() -> None:
    """Where the package has it. `__init__` and the migrations are tested as a whole."""
    paths = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    paths = [path for path in paths if path.parts[0] in MIRRORED and path.stem != "__init__"]
    tests = [ROOT / "tests" / path.with_name(f"test_{path.name}") for path in paths if "migrations" not in path.parts]
    assert [str(test.relative_to(ROOT)) for test in tests if not test.exists()] == []


VAGUE = {"one", "told", "found", "held"}


def test_variables_have_names_that_say_what_they_are() -> None:
    """`certificate` or `row`; where nothing is known of a value but that there is one, `one` may stand."""
    nodes = (node for tree in modules().values() for node in ast.walk(tree))
    counts = Counter(node.id for node in nodes if isinstance(node, ast.Name) and node.id in VAGUE)
    assert all(times <= 20 for times in counts.values()), counts


@cache
def named_by_tests() -> frozenset[str]:
    """Every attribute and every string in the tests' code, but for this file: no comment, no docstring."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path == Path(__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {one.value for one in ast.walk(tree) if isinstance(one, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told:
                found.add(node.value)
    return frozenset(found)


@cache
def reasons_of_the_code() -> frozenset[str]:
    """The names of all reasons that the code uses, but for where they are defined."""
    nodes = (node for name, tree in modules().items() if name != "authz.reasons" for node in ast.walk(tree))
    attributes = (node for node in nodes if isinstance(node, ast.Attribute))
    return frozenset(node.attr for node in attributes if ast.unparse(node.value) == "Reason")


@pytest.mark.parametrize("reason", list(Reason))
def test_reason_is_raised_in_the_code_and_named_by_a_test(reason: Reason) -> None:
    """None is dead, none unproven; each has a status, and a sentence that says what was found; and what to do."""
    assert reason.name in reasons_of_the_code(), "no code uses it"
    assert not named_by_tests().isdisjoint({reason.name, reason.value}), "no test names it"
    assert reason.status in {401, 403, 503}
    assert reason.sentence.endswith(".")
    assert "; " in reason.sentence, "it says what to do"


def test_reason_is_spelled_one_way() -> None:
    """The name in the code, in lower case, is the name everywhere."""
    assert all(one.value == one.name.lower() for one in Reason)
