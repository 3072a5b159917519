"""The `authz` command: the service, the demonstration, and every change of the directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from authz import __version__
from authz.cli import anchors, certificates, check, crls, database, decisions, doctor, organizations, run, users
from authz.cli.advice import advice
from authz.cli.output import fail
from authz.errors import AdvisedError, Refused

app = typer.Typer(
    name="authz",
    help="Decides for Envoy and nginx which user's certificate a request carries.",
    epilog="First steps: authz demo shows everything at work; authz db init makes a directory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(database.app, name="db")
app.add_typer(organizations.app, name="org")
app.add_typer(anchors.anchor_app, name="anchor")
app.add_typer(anchors.intermediate_app, name="intermediate")
app.add_typer(users.app, name="user")
app.add_typer(certificates.app, name="cert")
app.add_typer(crls.app, name="crl")
app.add_typer(decisions.app, name="decisions")
app.add_typer(doctor.app, name="doctor")
app.command("check", epilog="Example: authz check api.acme.example alice --cert alice-chain.pem")(check.check)
app.command("serve", epilog="Example: authz --config authz.toml serve (its log is JSON, a line each)")(run.serve)
app.command("demo", epilog="Example: authz demo --once --request-level")(run.demo)


def _version(asked: bool) -> None:  # noqa: FBT001 - the library's signature
    if asked:
        typer.echo(f"authz {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings in TOML.")] = None,
    _version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Take what every verb shares; AUTHZ_DATABASE names the directory, sqlite:///authz.db by default."""
    context.obj = config


def main() -> None:
    """Run the command; refusals and errors become a sentence, a hint and an exit code."""
    try:
        app()
    except AdvisedError as error:
        fail(str(error), advice(error))
        sys.exit(1)
    except Refused as refusal:
        fail(str(refusal), refusal.reason.sentence)
        sys.exit(1)
