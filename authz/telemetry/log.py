"""The log: one JSON line for each event. Outside strings are bounded and escaped."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO

import orjson
import structlog

from authz.decision import Allow, Decision
from authz.model import CheckRequest
from authz.text import shown
from authz.view import Listener


def json_logger(output: BinaryIO) -> Any:
    """A logger of one JSON line for each event."""
    return structlog.wrap_logger(
        structlog.BytesLogger(output),
        processors=[_stamp, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
        wrapper_class=structlog.BoundLogger,
    ).bind()


def decision_fields(check: CheckRequest, listener: Listener, decision: Decision) -> dict[str, object]:
    """The fields of a decision's log line, stamped with the present time; empty ones are left out."""
    evidence = decision.evidence
    organization, identity, leaf, path = evidence.organization, evidence.identity, evidence.leaf, evidence.path
    fields: dict[str, object] = {
        "time": _now(),
        "level": "info",
        "event": "decision",
        "decision_id": check.decision_id,
        "listener": listener.name,
        "host": shown(check.host, 64),
        "method": shown(check.method, 16),
        "organization": "" if organization is None else shown(organization.name),
        "user": "" if identity is None else shown(identity.user),
        "certificate": "" if leaf is None else leaf.sha256.hex(),
    }
    if isinstance(decision, Allow):
        fields["outcome"] = "allow"
        fields["binding"] = "" if decision.binding is None else str(decision.binding)
    else:
        fields["outcome"] = "deny"
        fields["reason"] = decision.reason.value
        fields["detail"] = shown(decision.detail, decision.detail_limit)
    if path is not None:
        fields["issuer"] = shown(path.leaf.issuer.text)
        fields["path_length"] = len(path.certificates)
        if path.exemption is not None:
            fields["exemption"] = str(path.exemption)
        fields["completed_by"] = evidence.completed_by
    if evidence.stored_chain:
        fields["stored_chain"] = True
    return {key: value for key, value in fields.items() if value != ""} if "" in fields.values() else fields


def innermost_frame(error: BaseException) -> str:
    """File and line of an error's innermost frame: enough to find it, without anything of the request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def _stamp(_logger: object, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return {"time": _now(), "level": method, **event}


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1_000_000:03d}+00:00"


@lru_cache(1)
def _second(seconds: int) -> str:
    """A moment of POSIX time; the lines of one second share it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
