"""Name constraints (RFC 5280 section 4.2.1.10), collected down the path and applied to every name below.

Permitted subtrees of one kind intersect between certificates and unite within one; an excluded
subtree excludes for good. A constraint of a kind that cannot be compared refuses as soon as a name of
that kind appears.
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.x509.general_names import KINDS, Comparable, NameKind
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.pki.budget import Budget
    from authz.pki.x509.certificate import Certificate

Subtrees = tuple[Comparable, ...]


class _Base:
    """A subtree, read once when the first name of its kind is met."""

    def __init__(self, stated: Comparable) -> None:
        self.kind = stated.kind
        self._stated = stated

    @cached_property
    def value(self) -> object:
        """What `NameKind.permits` and `NameKind.excludes` take. Raises `Refused` (name_constraint_unsupported)."""
        try:
            return KINDS[self.kind[0]].subtree(self._stated.value)
        except ValueError as error:
            raise Refused(Reason.NAME_CONSTRAINT_UNSUPPORTED, f"a subtree: {error}") from error


class NameConstraints:
    """The constraints gathered so far on one path (the state variables of RFC 5280 section 6.1.2 (b) and (c))."""

    __slots__ = ("_excluded", "_permitted")

    def __init__(self) -> None:
        self._permitted: list[list[_Base]] = []
        self._excluded: list[_Base] = []

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return bool(self._permitted or self._excluded)

    def add(self, permitted: Subtrees, excluded: Subtrees) -> None:
        """Take the constraints of one more CA (RFC 5280 section 6.1.4 (g)): permitted intersect, excluded unite."""
        if permitted:
            self._permitted.append(list(map(_Base, permitted)))
        self._excluded += map(_Base, excluded)

    def check(self, certificate: Certificate, budget: Budget) -> None:
        """Check subject and every alternative name of `certificate` (RFC 5280 section 6.1.3 (b) and (c)).

        Raises `Refused`: name_constraint_violated, name_constraint_unsupported, budget_exceeded.
        """
        bases = len(self._excluded) + sum(map(len, self._permitted))
        # If these are too many already, the subject is not read.
        stated = len(certificate.alternative_names)
        unread = certificate.unread_kinds
        budget.spend_names((stated + len(unread)) * bases)
        if unread and any(base.kind[0] in unread for base in chain(self._excluded, *self._permitted)):
            detail = "alternative names under constraints that cannot be read"
            raise Refused(Reason.NAME_CONSTRAINT_VIOLATED, detail, certificate=certificate.der)
        names = certificate.constrained_names
        budget.spend_names((len(names) - stated) * bases)
        for name in names:
            try:
                self._check_name(name)
            except Refused as refusal:
                raise Refused(refusal.reason, refusal.detail, certificate=certificate.der) from refusal

    def _check_name(self, name: Comparable) -> None:
        excluded = [base for base in self._excluded if base.kind == name.kind]
        permitted = [[base for base in subtrees if base.kind == name.kind] for subtrees in self._permitted]
        permitted = [bases for bases in permitted if bases]
        if not excluded and not permitted:
            return
        kind = KINDS.get(name.kind[0])
        if kind is None:
            raise Refused(Reason.NAME_CONSTRAINT_UNSUPPORTED, f"names of the kind {name.kind[0].__name__}")
        value = _name(kind, name)
        if any(kind.excludes(value, base.value) for base in excluded):
            raise Refused(Reason.NAME_CONSTRAINT_VIOLATED, f"{name.text} is excluded")
        for bases in permitted:
            if not any([kind.permits(value, base.value) for base in bases]):  # noqa: C419 - all must be readable
                raise Refused(Reason.NAME_CONSTRAINT_VIOLATED, f"{name.text} is not permitted")


def _name(kind: NameKind, name: Comparable) -> object:
    try:
        return kind.name(name.value)
    except ValueError as error:
        raise Refused(Reason.NAME_CONSTRAINT_VIOLATED, f"a name under constraints: {error}") from error
