"""The `authz` command: the service, the demonstration, and every change of the directory.

A verb's module is imported when the verb is called: each needs other libraries, and a start needs none.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from authz import __version__
from authz.cli.advice import advice
from authz.cli.output import fail
from authz.cli.parameters import convert_plain_words
from authz.errors import AdvisedError, Refused


class Verb(NamedTuple):
    """A verb or group of verbs: an attribute of a module in `authz.cli`, and its line in the help of the command."""

    module: str
    summary: str
    attribute: str = "app"
    epilog: str | None = None


VERBS: Final = {
    "check": Verb(
        "check",
        "Decide one request offline and show every gate.",
        "check",
        "Example: authz check api.acme.example alice --cert alice-chain.pem",
    ),
    "serve": Verb(
        "run",
        "Run the service until a signal stops it (SIGTERM or SIGINT).",
        "serve",
        "Example: authz --config authz.toml serve (its log is JSON, a line each)",
    ),
    "demo": Verb(
        "demonstration",
        "Show everything at work: a PKI, the service, a real Envoy, TLS clients, an application.",
        "demo",
        "Example: authz demo --once --request-level",
    ),
    "db": Verb("database", "The directory itself: make it, bring it up to date."),
    "org": Verb("organizations", "Organizations: tenants with hosts of their own."),
    "anchor": Verb("anchors", "Trust anchors: the CAs an organization trusts.", "anchor_app"),
    "intermediate": Verb("anchors", "Intermediates: CAs that are known, and still must verify.", "intermediate_app"),
    "user": Verb("users", "Users, and what is demanded of their certificates."),
    "cert": Verb("certificates", "Registered certificates of users."),
    "crl": Verb("crls", "Certificate revocation lists."),
    "export": Verb(
        "declarative",
        "Write the directory as documents, on stdout.",
        "export_",
        "Example: authz export > directory.yaml",
    ),
    "diff": Verb(
        "declarative",
        "Say what `authz apply` would change.",
        "diff",
        "Example: authz diff directory/ --prune",
    ),
    "apply": Verb(
        "declarative",
        "Make the directory what documents say.",
        "apply",
        "Example: authz apply directory/ --dry-run, and then without it",
    ),
    "audit": Verb("audit", "The log of every change of the directory."),
    "why": Verb(
        "why",
        "Why a user, or a request, is refused, and the one thing to do about it.",
        "why",
        "Example: authz why acme alice (or by the decision id of an answer: authz why 5e7fa3)",
    ),
    "expiry": Verb(
        "expiry",
        "What ends when, whose it is, how many users stop by it, and what is there to replace it.",
        "expiry",
        "Example: authz expiry --days 14 --by user",
    ),
    "rehearse": Verb(
        "rehearse",
        "Whom required would refuse, why and how often, by what was recorded, and who was never seen.",
        "rehearse_",
        "Example: authz rehearse acme --enforcement required --days 14",
    ),
    "decisions": Verb("decisions", "The history: what was denied, and what observe let pass that required would deny."),
    "doctor": Verb("doctor", "Is the service well? And can its proxy be got round?"),
}


def load(name: str) -> Any:
    """The command that the library makes of a verb, with its module imported."""
    verb = VERBS[name]
    target = getattr(import_module(f"authz.cli.{verb.module}"), verb.attribute)
    parent = typer.Typer(rich_markup_mode=None)
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name, help=verb.summary)
    else:
        parent.command(name, epilog=verb.epilog)(target)
    command = get_group(parent).commands[name]
    convert_plain_words(command)
    return command


class LazyGroup(TyperGroup):
    """A group whose verbs are but their summaries, for help and completion, until one is called."""

    def __init__(self, **attributes: Any) -> None:
        stand_ins = {name: TyperCommand(name, help=verb.summary) for name, verb in VERBS.items()}
        super().__init__(**{**attributes, "commands": stand_ins})
        convert_plain_words(self)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the words begin with, loaded; see the library."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, command, rest
        # An import leaves nothing to collect: to look for it, now or later, would be a seventh of a start.
        gc.disable()
        try:
            return name, load(name), rest
        finally:
            gc.freeze()
            gc.enable()


app = typer.Typer(
    name="authz",
    cls=LazyGroup,
    help="Decides for Envoy and nginx which user's certificate a request carries.",
    epilog="First steps: authz demo shows everything at work; authz db init makes a directory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
        code = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except AdvisedError as error:
        fail(str(error), advice(error))
        sys.exit(1)
    except Refused as refusal:
        fail(str(refusal), refusal.reason.sentence)
        sys.exit(1)
    except TyperException as error:
        _fail_usage(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in {errno.EPIPE, errno.ENOSPC, errno.EDQUOT}:
            raise
        # What is left of it would be tried once more as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            fail(f"the output cannot be written: {error.strerror}", "what the command changed before is changed")
        sys.exit(1)
    except UnicodeEncodeError:
        if all(map(_is_utf8, sys.argv)):
            raise
        fail("a word of the command is not UTF-8", "only the path of a file need not be")
        sys.exit(2)
    finally:
        # The process ends: what it holds is not looked through once more.
        gc.freeze()


def _is_utf8(word: str) -> bool:
    """Whether bytes that are none are not in it: Python has them as halves of characters."""
    return not any("\udc80" <= character <= "\udcff" for character in word)


_LIBRARY: Final = re.compile(r"Value error, |, unable to parse string as an? \w+|\.$")
"""What the libraries add to their sentences."""


def _fail_usage(error: TyperException) -> None:
    """Print what is wrong with the words of the call, and where they are explained."""
    message = error.format_message()
    if message.startswith("Usage:"):
        # A group without a verb: the library's message is its help.
        sys.stderr.write(f"{message}\n")
        return
    context = getattr(error, "ctx", None)
    path = "authz" if context is None else context.command_path
    fail(message[:1].lower() + _LIBRARY.sub("", message[1:]), f"{path} --help")
