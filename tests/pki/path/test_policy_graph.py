"""Certificate policies by the graph of RFC 9618: the answers of RFC 5280's tree, with as many nodes as names."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from cryptography import x509
from support.certificates import Authority, Minted
from support.outcomes import parsed, reason
from support.policy_tree import Inputs, Stated, Tree
from support.raw_der import sequence, tlv

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.path.policy_graph import check_policies
from authz.pki.validation_policy import ValidationPolicy
from authz.pki.x509.extensions import ANY_POLICY
from authz.reasons import Reason

ROOT = Authority.root()
A, B, C = "1.2.3.1", "1.2.3.2", "1.2.3.3"
Extension = tuple[x509.ExtensionType, bool]
DENIED = Reason.POLICY_NOT_ALLOWED


def policies(*oids: str) -> Extension:
    """Certificate policies."""
    found = [x509.PolicyInformation(x509.ObjectIdentifier(one), None) for one in oids]
    return x509.CertificatePolicies(found), False


def encoded(oid: str) -> bytes:
    """An object identifier in DER."""
    arcs = [int(arc) for arc in oid.split(".")]
    content = bytes([arcs[0] * 40 + arcs[1]])
    for arc in arcs[2:]:
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.insert(0, arc & 0x7F | 0x80)
        content += bytes(octets)
    return tlv(0x06, content)


def mappings(*pairs: tuple[str, str]) -> Extension:
    """Policy mappings: issuer's policy, subject's policy."""
    value = sequence(*(sequence(encoded(one), encoded(other)) for one, other in pairs))
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), value), True


def constraints(explicit: int | None = None, mapping: int | None = None) -> Extension:
    """Policy constraints: certificates until an explicit policy is required, and until mapping is inhibited."""
    return x509.PolicyConstraints(explicit, mapping), True


def inhibit(after: int) -> Extension:
    """Certificates until anyPolicy does not count."""
    return x509.InhibitAnyPolicy(after), True


def outcome(policy: ValidationPolicy, *levels: Iterable[Extension], budget: Budget | None = None) -> Reason | None:
    """What becomes of a path of which each certificate, from the one under the anchor on, has these extensions."""
    *cas, last = levels
    issuer, pool = ROOT, []
    for number, extensions in enumerate(cas):
        issuer = issuer.intermediate(f"CA {number}", extensions=list(extensions))
        pool.append(issuer)
    return reason(issuer.leaf(extensions=list(last)), *pool, anchors=[ROOT], policy=policy, budget=budget)


PLAIN = ValidationPolicy()
EXPLICIT = ValidationPolicy(require_explicit_policy=True)
ONLY_A = ValidationPolicy(require_explicit_policy=True, initial_policy_set=frozenset({A}))
UNMAPPED = ValidationPolicy(require_explicit_policy=True, inhibit_policy_mapping=True)
NOT_ANY = ValidationPolicy(require_explicit_policy=True, inhibit_any_policy=True)
NOBODY = ValidationPolicy(require_explicit_policy=True, initial_policy_set=frozenset())
ANY, ON_A, ON_B, ON_C, NONE = [policies(ANY_POLICY)], [policies(A)], [policies(B)], [policies(C)], []  # type: ignore[var-annotated]


@pytest.mark.parametrize(
    ("policy", "levels", "expected"),
    [
        (PLAIN, [NONE, NONE], None),
        (PLAIN, [ON_A, ON_B], None),
        (EXPLICIT, [ON_A, ON_A], None),
        (EXPLICIT, [ON_A, ON_B], DENIED),
        (EXPLICIT, [NONE, ON_A], DENIED),
        (EXPLICIT, [ON_A, NONE], DENIED),
        (EXPLICIT, [ON_A, NONE, ON_A], DENIED),
        (EXPLICIT, [ANY, ON_A], None),
        (EXPLICIT, [ON_A, ANY], None),
        (EXPLICIT, [ANY, ANY], None),
        (NOT_ANY, [ANY, ON_A], DENIED),
        (NOT_ANY, [ON_A, ANY], DENIED),
        (NOT_ANY, [ON_A, ON_A], None),
        (ONLY_A, [ON_A, ON_A], None),
        (ONLY_A, [ON_B, ON_B], DENIED),
        (ONLY_A, [ANY, ON_A], None),
        (ONLY_A, [ANY, ON_B], DENIED),
        (ONLY_A, [ANY, ANY], None),
        (ONLY_A, [ON_B, ANY], DENIED),
        (ONLY_A, [[policies(A, B)], ON_B], DENIED),
        (NOBODY, [ANY, ANY], DENIED),
        (NOBODY, [ON_A, ON_A], DENIED),
        # 6.1.4 (b): what an issuer calls A is called B below.
        (EXPLICIT, [[policies(A), mappings((A, B))], ON_B], None),
        (EXPLICIT, [[policies(A), mappings((A, B))], ON_A], DENIED),
        (ONLY_A, [[policies(A), mappings((A, B))], ON_B], None),
        (ONLY_A, [[policies(A), mappings((A, B), (A, C))], ON_C], None),
        (ONLY_A, [[policies(ANY_POLICY), mappings((A, B))], ON_B], None),
        (ONLY_A, [[policies(C), mappings((A, B))], ON_B], DENIED),
        (ONLY_A, [[policies(A), mappings((A, B))], ANY], None),
        (UNMAPPED, [[policies(A), mappings((A, B))], ON_B], DENIED),
        (UNMAPPED, [[policies(A, C), mappings((A, B))], ON_C], None),
        (UNMAPPED, [[policies(C), mappings((A, B))], ON_C], None),
        (PLAIN, [[policies(A), mappings((ANY_POLICY, B))], ON_B], DENIED),
        (PLAIN, [[policies(A), mappings((A, ANY_POLICY))], ON_B], DENIED),
        # 6.1.4 (i) and 6.1.5 (b): a CA, or the leaf itself, may demand a policy.
        (PLAIN, [[policies(A), constraints(0)], ON_B], DENIED),
        (PLAIN, [[policies(A), constraints(0)], ON_A], None),
        (PLAIN, [[policies(A), constraints(1)], ON_B], DENIED),
        (PLAIN, [[policies(A), constraints(2)], ON_B], None),
        (PLAIN, [[policies(A), constraints(1)], ON_A, ON_B], DENIED),
        (PLAIN, [ON_A, [policies(B), constraints(0)]], DENIED),
        (PLAIN, [ON_A, [policies(A), constraints(0)]], None),
        (PLAIN, [ON_A, [policies(B), constraints(1)]], None),
        (EXPLICIT, [[policies(A), constraints(mapping=0)], [policies(A), mappings((A, B))], ON_B], DENIED),
        (EXPLICIT, [[policies(A), constraints(mapping=1)], ON_A, [policies(A), mappings((A, B))], ON_B], DENIED),
        (EXPLICIT, [[policies(A), constraints(mapping=1)], [policies(A), mappings((A, B))], ON_B], None),
        # 6.1.4 (j)
        (EXPLICIT, [[policies(A), inhibit(0)], ANY], DENIED),
        (EXPLICIT, [[policies(A), inhibit(0)], ON_A], None),
        (EXPLICIT, [[policies(A), inhibit(1)], ON_A, ANY], DENIED),
        (EXPLICIT, [[policies(A), inhibit(2)], ON_A, ANY], None),
    ],
)
def test_policies_decide(policy: ValidationPolicy, levels: list[list[Extension]], expected: Reason | None) -> None:
    """Explicit policy, anyPolicy and its inhibition, mapping and its inhibition, the wanted set."""
    assert outcome(policy, *levels) is expected


def test_self_issued_ca_may_say_any_policy_when_it_is_inhibited() -> None:
    """6.1.3 (d) (2): it is the same CA; the counters do not fall for it either."""
    upper = ROOT.intermediate("CA", extensions=[policies(A), inhibit(0)])
    rolled = upper.intermediate("CA", extensions=[policies(ANY_POLICY)])
    assert reason(rolled.leaf(extensions=[policies(A)]), rolled, upper, anchors=[ROOT], policy=EXPLICIT) is None
    other = upper.intermediate("Other", extensions=[policies(ANY_POLICY)])
    assert reason(other.leaf(extensions=[policies(A)]), other, upper, anchors=[ROOT], policy=EXPLICIT) is DENIED


def doubling(depth: int, width: int) -> list[Minted]:
    """CAs of which each maps every policy of a set to every other: a tree would multiply by the set's size."""
    names = [f"1.2.3.{number}" for number in range(width)]
    everything = mappings(*((one, other) for one in names for other in names))
    issuer, chain = ROOT, []
    for number in range(depth):
        issuer = issuer.intermediate(f"CA {number}", extensions=[policies(*names), everything])
        chain.append(issuer)
    return [*chain, issuer.leaf(extensions=[policies(*names)])]


def test_doubling_mappings_cost_their_number_and_not_its_power() -> None:
    """Eight CAs of eight policies, each mapped to each: 8^8 nodes as a tree, 64 mappings a level as a graph."""
    path, budget = parsed(*doubling(8, 8)), Budget()
    check_policies(path, EXPLICIT, budget)
    assert Budget().policy_nodes - budget.policy_nodes == 8 * 64 + 9 * 8


def test_ten_certificates_of_a_hundred_policies_fit_the_librarys_budget() -> None:
    """Which is what its number was chosen for; of one more there is one node too few."""
    names = [f"1.2.3.{number}" for number in range(100)]
    stated, budget = [policies(*names)], Budget()
    assert outcome(EXPLICIT, *[stated] * 10, budget=budget) is None
    assert budget.policy_nodes == 0
    assert outcome(EXPLICIT, *[stated] * 10, ON_A) is Reason.BUDGET_EXCEEDED


@pytest.mark.parametrize("service", [True, False])
def test_mappings_beyond_the_budget_are_refused(service: bool) -> None:
    """A hundred mappings a certificate, in ten of them."""
    budget = Budget.service() if service else Budget()
    with pytest.raises(Refused) as caught:
        check_policies(parsed(*doubling(12, 10)), EXPLICIT, budget)
    assert caught.value.reason is Reason.BUDGET_EXCEEDED
    assert -200 <= budget.policy_nodes < 0


def drawn_certificate(drawn: random.Random, *, last: bool) -> Stated:
    """Any of three policies and anyPolicy, mapped and limited at random."""
    names = [A, B, C]
    stated = frozenset(one for one in [*names, ANY_POLICY] if drawn.random() < 0.5)
    pairs = {(drawn.choice(names), drawn.choice(names)) for _ in range(drawn.choice([0, 1, 3]))}
    limits = [drawn.randint(0, 3) if drawn.random() < 0.2 else None for _ in range(3)]
    policies_or_none = stated if drawn.random() < 0.93 else None
    return Stated(policies_or_none, () if last else tuple(sorted(pairs)), *limits, self_issued=drawn.random() < 0.2)


def minted(one: Stated) -> Minted:
    """A certificate that states as much; who issued it has no say in policies."""
    stated: list[Extension] = []
    if one.policies is not None:
        stated += [policies(*sorted(one.policies))]
    if one.mappings:
        stated += [mappings(*one.mappings)]
    if (one.explicit, one.no_mapping) != (None, None):
        stated += [constraints(one.explicit, one.no_mapping)]
    if one.no_any is not None:
        stated += [inhibit(one.no_any)]
    return ROOT.intermediate("Root" if one.self_issued else "CA", extensions=stated)


@pytest.mark.slow
def test_graph_decides_as_the_tree_of_rfc5280_does() -> None:
    """On paths drawn at random, with every input of section 6.1.1; both verdicts are met often."""
    drawn, verdicts = random.Random(9618), Counter[bool]()
    for _ in range(1_000):
        length = drawn.randint(1, 5)
        path = [drawn_certificate(drawn, last=depth == length - 1) for depth in range(length)]
        wanted = frozenset(one for one in (A, B, "1.2.9") if drawn.random() < 0.6) or frozenset({ANY_POLICY})
        flags = [drawn.random() < share for share in (0.7, 0.1, 0.15)]
        policy = ValidationPolicy(wanted, *flags)
        try:
            check_policies(parsed(*map(minted, path)), policy, Budget())
            found = True
        except Refused:
            found = False
        assert found is Tree(length, Inputs(wanted, *flags)).accepts(path), (path, policy)
        verdicts[found] += 1
    assert min(verdicts.values()) > 300
