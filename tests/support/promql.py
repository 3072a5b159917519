"""The names in an expression of PromQL."""

from __future__ import annotations

import re

_SELECTOR = re.compile(r"\b(authz_\w+)(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def names_in(expression: str) -> dict[str, set[str]]:
    """Its metrics, each with the labels that it selects, and those by which the expression groups."""
    grouped = {label.strip() for labels in _GROUPING.findall(expression) for label in labels.split(",")} - {""}
    names: dict[str, set[str]] = {}
    for metric, matchers in _SELECTOR.findall(expression):
        selected = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        names.setdefault(metric, set()).update(selected | grouped)
    return names
