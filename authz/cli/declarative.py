"""`authz export`, `diff` and `apply`: the directory as documents, thousands of changes at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from authz.admin.apply import apply as take
from authz.admin.apply import compare
from authz.admin.audited_store import AuditedStore, local_actor
from authz.admin.document_reader import DocumentSource
from authz.admin.documents import Kind, json_schema
from authz.admin.export import as_yaml, export, left_out
from authz.admin.plan import Action, Plan, Step, name_of
from authz.admin.refusals import refusals
from authz.cli.advice import advice
from authz.cli.options import AsJson, database_of, expect_many_rows, open_store
from authz.cli.output import Row, emit, emit_one, fail, hint, say
from authz.clock import SystemClock
from authz.directory.row_log import State
from authz.errors import ConfigError

SHOWN: Final = 100
"""Steps and refusals that are printed; as JSON, all are."""

Documents = Annotated[
    Path, typer.Argument(metavar="FILE", help="YAML documents or JSON lines, a folder of such files, or - for stdin.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Remove what is not written, too.")]


def export_(
    context: typer.Context,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only documents of this kind; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of YAML: faster for very many.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Only the JSON Schema of a document.")] = False,
) -> None:
    """Write the directory as documents, on stdout.

    `authz apply` reads them, and finds nothing to change.
    """
    if schema:
        json.dump(json_schema(), sys.stdout, indent=2)
        typer.echo()
        return
    kinds = tuple(Kind) if not kind else tuple(map(_kind, kind))
    written = (lambda document: orjson.dumps(document).decode() + "\n") if as_json else as_yaml
    with open_store(context) as store, store.reading() as connection:
        for document in export(connection, kinds):
            sys.stdout.write(written(document))
        large = left_out(connection) if Kind.CRL in kinds else 0
    if large:
        hint(f"{large} CRLs are too large for a document: authz crl list, and authz crl add where the documents go")


def _kind(name: str) -> Kind:
    try:
        return Kind[name.upper()]
    except KeyError:
        kinds = ", ".join(kind.name.capitalize() for kind in Kind)
        raise typer.BadParameter(f"{name} is no kind: {kinds}") from None


def diff(context: typer.Context, file: Documents, prune: Prune = False, as_json: AsJson = False) -> None:
    """Say what `authz apply` would change. Exit code 0: nothing, 1: something, 2: the documents cannot be applied."""
    with _compared(context, file, prune=prune, code=2) as (store, plan, _):
        _emit_plan(store, plan, prune=prune, as_json=as_json)
        differs = plan.total(prune=prune) > 0
    raise typer.Exit(int(differs))


def apply(
    context: typer.Context,
    file: Documents,
    prune: Prune = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: print what would change, and who would be refused.")
    ] = False,
    expect: Annotated[
        int | None, typer.Option("--expect", metavar="REVISION", help="Only if the directory has this revision.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the directory what documents say. What they leave out stays, unless --prune.

    Up to 20,000 changes are one transaction. More are batches: if it is interrupted, run it again.
    """
    with _compared(context, file, expect, prune=prune) as (store, plan, state):
        if dry_run:
            _emit_plan(store, plan, prune=prune, as_json=as_json)
            return
        with _bar("changes") as advance:
            total = plan.total(prune=prune)
            try:
                done = take(store, plan, state, _now(), prune=prune, progress=lambda steps: advance(steps, total))
            except KeyboardInterrupt:
                say("interrupted: what was stored until now stays, and the same call goes on from there")
                raise
    counts = {action.name.lower(): done.counts[action] for action in (Action.ADD, Action.CHANGE, Action.REMOVE)}
    any_done = done.counts.total() > 0
    emit_one({**counts, "apply": done.apply_id if any_done else None}, as_json=as_json)
    if any_done:
        hint(f"what it did: authz audit list --apply {done.apply_id}")


_now: Final = SystemClock().now


@contextmanager
def _compared(
    context: typer.Context, file: Path, expect: int | None = None, *, prune: bool, code: int = 1
) -> Iterator[tuple[AuditedStore, Plan, State]]:
    """The documents, compared with the directory.

    If anything is wrong with them, all of it is printed, and `code` is the exit code.
    """
    expect_many_rows()
    with closing(Plan()) as plan, closing(_store(context, expect)) as store:
        try:
            with _bar("documents") as advance:
                plan.read(
                    DocumentSource(file, sys.stdin.buffer if str(file) == "-" else None),
                    lambda count: advance(count, None),
                )
            with _bar("compared") as advance:
                state = compare(store, plan, _now(), lambda count: advance(count, None), prune=prune)
        except ConfigError as error:
            plan.errors.append(error)
        for problem in islice(plan.errors, SHOWN):
            fail(str(problem), advice(problem))
        if plan.errors:
            say(f"{len(plan.errors)} errors: nothing was changed")
            raise typer.Exit(code)
        yield store, plan, state


def _store(context: typer.Context, expect: int | None) -> AuditedStore:
    return AuditedStore(database_of(context), local_actor("apply"), expected=expect)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on stderr, if that is a terminal; it is moved by calls with how many are done of how many."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _emit_plan(store: AuditedStore, plan: Plan, *, prune: bool, as_json: bool) -> None:
    """Print the steps, and who would be refused after them."""
    with store.reading() as connection:
        refused = list(refusals(connection, plan.steps(prune=prune), _now()))
    steps = map(_step_row, plan.steps(prune=prune))
    if as_json:
        counts = {action.name.lower(): plan.counts[action] for action in Action}
        emit_one({**counts, "steps": list(steps), "refused": [refusal._asdict() for refusal in refused]}, as_json=True)
        return
    emit(islice(steps, SHOWN), as_json=False)
    total = plan.total(prune=prune)
    if total > SHOWN:
        say(f"and {total - SHOWN} more: --json prints all")
    kept = "" if prune else f"; {plan.counts[Action.REMOVE]} are not written and stay"
    say(f"{plan.counts[Action.ADD]} to add, {plan.counts[Action.CHANGE]} to change{kept}")
    for refusal in islice(refused, SHOWN):
        say(str(refusal))
    if refused:
        say(f"{len(refused)} users who were seen lately would be refused")


def _step_row(step: Step) -> Row:
    after = step.wanted.content
    return {
        "action": step.action.name.lower(),
        "organization": step.wanted.organization,
        "object": name_of(step.wanted),
        "changes": _changes(step.before, after) if step.before and after else "",
        "place": step.place,
    }


def _changes(before: bytes, after: bytes) -> str:
    old, new = orjson.loads(before), orjson.loads(after)
    return ", ".join(f"{key}: {old[key]} → {new[key]}" for key in new if old.get(key) != new[key])
