"""`authz decisions`: what the service denied, what `observe` let pass, and what was allowed, if that is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from authz.cli.moments import past_moment
from authz.cli.options import AsJson, Limit, open_store, sha256_text
from authz.cli.output import emit_one, emit_page, hint
from authz.cli.replay import can_be_replayed
from authz.cli.rows import decision_details, decision_row
from authz.directory.decision_rows import Filter, list_decisions
from authz.directory.organizations import require_organization
from authz.model import Outcome
from authz.reasons import Reason

app = typer.Typer(no_args_is_help=True)

DecisionId = Annotated[
    str, typer.Argument(metavar="ID", help="The decision id, as answer and log show it; its beginning is enough.")
]


@app.command("list", epilog="Example: authz decisions list --organization acme --user alice --since 2026-11-01")
def list_(
    context: typer.Context,
    organization: Annotated[str | None, typer.Option("--organization", help="Of one organization only.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Of one user name only.")] = None,
    outcome: Annotated[
        Outcome | None,
        typer.Option("--outcome", help="denied, allowed, or observed: allowed where required would deny."),
    ] = None,
    reason: Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="For one reason only.")] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            "--certificate", parser=sha256_text, metavar="SHA256", help="With one leaf only; its beginning is enough."
        ),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", parser=past_moment, metavar="TIME", help="Not before this moment.")
    ] = None,
    limit: Limit = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Only those behind this one; its beginning is enough.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List decisions, the newest first."""
    value = None if reason is None else reason.value
    wanted = Filter(organization, user, outcome, value, certificate, since, after)
    with open_store(context) as store, store.reading() as connection:
        if organization is not None:
            require_organization(connection, organization)
        decisions = map(decision_row, list_decisions(connection, wanted))
        listed = emit_page(decisions, "id", limit, as_json=as_json)
    if not listed and after is None:
        hint("allowed requests are not kept unless history.allowed says so; a denied one is here within two seconds")


@app.command("show", epilog="Example: authz decisions show 5e7fa3 (then: authz check --replay 5e7fa3)")
def show(context: typer.Context, decision_id: DecisionId, as_json: AsJson = False) -> None:
    """Show one decision, and what it means."""
    with open_store(context) as store:
        decision = store.decision(decision_id)
    emit_one({**decision_row(decision), **decision_details(decision)}, as_json=as_json)
    if can_be_replayed(decision):
        hint(f"decide it again as things stand now: authz check --replay {decision.decision_id}")
