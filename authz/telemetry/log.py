"""The log: one JSON line for each event. Outside strings are bounded and escaped."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from authz.decision import Allow, Decision
from authz.pki import Exemption
from authz.text import shown

_TRACEPARENT: Final = re.compile(
    rb"((?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?", re.DOTALL
)
"""W3C Trace Context, section 3.2.2. A later version than 00 may have more behind it (section 4)."""


def line_of_event(level: str, event: str, fields: Mapping[str, object]) -> bytes:
    """The line of anything but a decision: `fields` are plain values, of which texts may have come from outside."""
    safe = {name: shown(value) if isinstance(value, str) else value for name, value in fields.items()}
    return orjson.dumps({"time": _time(time.time_ns()), "level": level, "event": event, **safe}) + b"\n"


class Decided(NamedTuple):
    """What is logged of a decision: made at `at` (nanoseconds of POSIX time) and in `seconds`.

    `traced` are the request's headers of trace context, if it has any.
    """

    at: int
    decision_id: str
    host: str
    method: str
    listener: str
    decision: Decision
    seconds: float
    traced: Sequence[tuple[bytes, bytes]] | None = None


def line_of(decided: Decided, rows: str) -> str:
    """The line of a decision; `rows` are `members_of_rows`. Its id is ours, and needs no escapes."""
    at, decision_id, host, method, listener, decision, seconds, traced = decided
    evidence = decision.evidence
    path = evidence.path
    length, exemption, completed_by = (
        (0, None, "") if path is None else (len(path.certificates), path.exemption, evidence.completed_by)
    )
    of_path = (length, exemption, completed_by, evidence.stored_chain)
    of_request = (listener, shown(host, 64), shown(method, 16))
    if isinstance(decision, Allow):
        members = _members_of_allowed(of_request, of_path, "" if decision.binding is None else str(decision.binding))
    else:
        detail = shown(decision.detail, decision.detail_limit)
        members = _members_of_check(of_request, of_path, reason=decision.reason.value, detail=detail)
    trace = "" if traced is None else traceparent(traced)
    return (
        f'{{"time":"{_time(at)}","level":"info","event":"decision","decision_id":"{decision_id}"'
        f'{trace and _TRACE % trace},"microseconds":{round(seconds * 1e6)}{members}{rows}}}\n'
    )


_TRACE: Final = ',"traceparent":"%s"'


def _members_of_check(
    of_request: tuple[str, str, str],
    of_path: tuple[int, Exemption | None, str, bool],
    binding: str = "",
    reason: str = "",
    detail: str = "",
) -> str:
    """Those that many checks share: listener, host and method, outcome, and what is said of the path."""
    listener, host, method = of_request
    length, exemption, completed_by, stored_chain = of_path
    return _members(
        {
            "listener": listener,
            "host": host,
            "method": method,
            "outcome": "deny" if reason else "allow",
            "binding": binding,
            "reason": reason,
            "detail": detail,
            "path_length": length or "",
            "exemption": exemption or "",
            "completed_by": completed_by,
            "stored_chain": stored_chain or "",
        }
    )


# Of what cannot have all values a request can be given: those of allowed requests, whose host is a row.
_members_of_allowed: Final = lru_cache(1024)(_members_of_check)


def members_of_rows(decision: Decision) -> str:
    """Those that organization, user and leaf fix."""
    evidence = decision.evidence
    organization, identity, leaf, path = evidence.organization, evidence.identity, evidence.leaf, evidence.path
    return _members(
        {
            "organization": "" if organization is None else shown(organization.name),
            "user": "" if identity is None else shown(identity.user),
            "certificate": "" if leaf is None else leaf.sha256.hex(),
            "issuer": "" if path is None else shown(path.leaf.issuer.text),
        }
    )


def _members(fields: dict[str, object]) -> str:
    """Members of a JSON object, each behind a comma; empty ones are left out."""
    members = orjson.dumps({key: value for key, value in fields.items() if value != ""})[1:-1].decode()
    return f",{members}" if members else ""


def traceparent(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The trace context of a request, 55 characters; empty for no, several or malformed ones.

    A client can write it: it leads from a trace to a line of the log, and nothing else is done with it.
    """
    header: bytes | None = None
    for name, value in headers:
        if name == b"traceparent":
            if header is not None:
                return ""
            header = value
    match = None if header is None else _TRACEPARENT.fullmatch(header)
    return "" if match is None or (match[1] != header and match[1].startswith(b"00")) else match[1].decode("ascii")


def innermost_frame(error: BaseException) -> str:
    """File and line of an error's innermost frame: enough to find it, without anything of the request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def _time(at: int) -> str:
    seconds, nanoseconds = divmod(at, 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1_000_000:03d}+00:00"


@lru_cache(1)
def _second(seconds: int) -> str:
    """A moment of POSIX time; the lines of one second share it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
