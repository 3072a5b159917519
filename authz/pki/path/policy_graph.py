"""Certificate policies (RFC 5280 section 6.1), kept as the graph of RFC 9618 instead of a tree that can double.

Each depth holds one node for each policy; a node names its parents, policies of the depth above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.x509.extensions import ANY_POLICY
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.pki.budget import Budget
    from authz.pki.validation_policy import ValidationPolicy
    from authz.pki.x509.certificate import Certificate


@dataclass(slots=True)
class _Node:
    """A valid policy at one depth: what is expected below it, and the policies above that lead to it."""

    expected: set[str]
    parents: set[str] = field(default_factory=set)


_Level = dict[str, _Node]


def check_policies(below: Sequence[Certificate], policy: ValidationPolicy, budget: Budget) -> None:
    """Process the policies of a path given from the certificate under the anchor down to the leaf.

    Raises `Refused` (policy_not_allowed, budget_exceeded).
    """
    if _matters(below, policy):
        _PolicyState(len(below), policy, budget).run(below)


def _matters(below: Sequence[Certificate], policy: ValidationPolicy) -> bool:
    """Whether explicit_policy can reach zero at all, or a mapping must be looked at.

    It starts at n + 1 and falls by one for each of at most n certificates (6.1.2 (d), 6.1.4 (h), 6.1.5 (a)).
    """
    if policy.require_explicit_policy:
        return True
    return any([certificate.extensions.shapes_policies for certificate in below])  # noqa: C419 - as fast as it gets


class _PolicyState:
    """The state variables of RFC 5280 section 6.1.2 (a) and (d) to (f), with the graph of RFC 9618 section 5."""

    def __init__(self, length: int, policy: ValidationPolicy, budget: Budget) -> None:
        self.explicit_policy = 0 if policy.require_explicit_policy else length + 1
        self.policy_mapping = 0 if policy.inhibit_policy_mapping else length + 1
        self.inhibit_any = 0 if policy.inhibit_any_policy else length + 1
        self.initial = policy.initial_policy_set
        self.budget = budget
        self.levels: list[_Level] = [{ANY_POLICY: _Node({ANY_POLICY})}]

    def run(self, below: Sequence[Certificate]) -> None:
        for certificate in below[:-1]:
            self._certificate(certificate, last=False)
            self._prepare_next(certificate)
        leaf = below[-1]
        self._certificate(leaf, last=True)
        # 6.1.5 (a) and (b)
        self.explicit_policy = max(0, self.explicit_policy - 1)
        if leaf.extensions.require_explicit_policy == 0:
            self.explicit_policy = 0
        # 6.1.5 (g)
        if self.explicit_policy == 0 and not self._user_constrained():
            raise _refusal("no acceptable policy is valid for the whole path", leaf)

    def _certificate(self, certificate: Certificate, *, last: bool) -> None:
        """6.1.3 (d) to (f)."""
        policies = certificate.extensions.policies
        if policies is None:
            self.levels.append({})
        else:
            any_counts = self.inhibit_any > 0 or (not last and certificate.self_issued)
            self._grow(policies, any_counts=any_counts)
        if self.explicit_policy == 0 and not self.levels[-1]:
            raise _refusal("an explicit policy is required, and none is valid", certificate)

    def _grow(self, policies: frozenset[str], *, any_counts: bool) -> None:
        """6.1.3 (d), as in RFC 9618 section 5.3: one node for each policy, with any number of parents."""
        self.budget.spend_policy_nodes(len(policies))
        above = self.levels[-1]
        level: _Level = {}
        wanted: dict[str, set[str]] = {}
        for parent, node in above.items():
            for expected in node.expected:
                wanted.setdefault(expected, set()).add(parent)
        for policy in policies - {ANY_POLICY}:  # (d) (1)
            parents = wanted.get(policy) or ({ANY_POLICY} if ANY_POLICY in above else set())
            if parents:
                level[policy] = _Node({policy}, set(parents))
        if ANY_POLICY in policies and any_counts:  # (d) (2)
            self.budget.spend_policy_nodes(len(wanted))
            for policy, parents in wanted.items():
                level.setdefault(policy, _Node({policy}, parents))
        self.levels.append(level)

    def _prepare_next(self, certificate: Certificate) -> None:
        """6.1.4 (a), (b) and (h) to (j)."""
        extensions = certificate.extensions
        if extensions.mapped:
            self._map(certificate)
        if not certificate.self_issued:
            self.explicit_policy = max(0, self.explicit_policy - 1)
            self.policy_mapping = max(0, self.policy_mapping - 1)
            self.inhibit_any = max(0, self.inhibit_any - 1)
        self.explicit_policy = _lower(self.explicit_policy, extensions.require_explicit_policy)
        self.policy_mapping = _lower(self.policy_mapping, extensions.inhibit_policy_mapping)
        self.inhibit_any = _lower(self.inhibit_any, extensions.inhibit_any_policy)

    def _map(self, certificate: Certificate) -> None:
        """6.1.4 (a) and (b): policy mappings."""
        level = self.levels[-1]
        self.budget.spend_policy_nodes(len(certificate.extensions.mapped))
        mappings = certificate.extensions.mappings
        if any(ANY_POLICY in pair for pair in mappings):
            raise _refusal("anyPolicy is mapped", certificate)
        targets: dict[str, set[str]] = {}
        for issuer_domain, subject_domain in mappings:
            targets.setdefault(issuer_domain, set()).add(subject_domain)
        for policy, mapped in targets.items():
            if self.policy_mapping == 0:
                level.pop(policy, None)
            elif policy in level:
                level[policy].expected = mapped
            elif ANY_POLICY in level:
                level[policy] = _Node(mapped, {ANY_POLICY})

    def _user_constrained(self) -> bool:
        """6.1.5 (g), as RFC 9618 section 5.5: whether a policy under anyPolicy that reaches the leaf is acceptable."""
        if not self.levels[-1]:
            return False
        if ANY_POLICY in self.initial or ANY_POLICY in self.levels[-1]:
            return bool(self.initial)
        reached = set(self.levels[-1])
        for level in reversed(self.levels[1:]):
            nodes = [(policy, level[policy].parents) for policy in reached]
            if any(ANY_POLICY in parents and policy in self.initial for policy, parents in nodes):
                return True
            reached = {parent for _, parents in nodes for parent in parents}
        return False


def _lower(current: int, limit: int | None) -> int:
    return current if limit is None else min(current, limit)


def _refusal(detail: str, certificate: Certificate) -> Refused:
    return Refused(Reason.POLICY_NOT_ALLOWED, detail, certificate=certificate.der)
