"""How Envoy is configured to remove a client's headers before any filter runs."""

from __future__ import annotations

from typing import Final

from authz.doctor.envoy.model import Hcm
from authz.doctor.findings import Edit
from authz.doctor.tree import Node

_PACKAGE: Final = "early_header_mutation.header_mutation"
_TYPE: Final = f"type.googleapis.com/envoy.extensions.http.{_PACKAGE}.v3.HeaderMutation"


def remove_early(hcm: Hcm, *headers: str | Node) -> tuple[Edit, ...]:
    """The edit after which these headers, by name or by pattern, are gone before the check."""
    mutations = [_mutation(header) for header in headers]
    for extension in hcm.early.items:
        if existing := extension.at("typed_config.mutations"):
            return tuple(edit for mutation in mutations for edit in existing.append(mutation))
    extension_value = {"name": f"envoy.http.{_PACKAGE}", "typed_config": {"@type": _TYPE, "mutations": mutations}}
    return hcm.node.put("early_header_mutation_extensions", [extension_value])


def _mutation(header: str | Node) -> dict[str, object]:
    if isinstance(header, str):
        return {"remove": header}
    return (
        {"remove": header.at("exact").text}
        if header.at("exact")
        else {"remove_on_match": {"key_matcher": header.value()}}
    )
