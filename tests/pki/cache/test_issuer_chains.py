"""The key that an issuer chain is remembered under, and what is said of the whole chain."""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509
from support.outcomes import parsed
from support.raw_der import handmade, raw_name
from support.revocation_world import CA, ROOT

from authz.pki import DEFAULT_POLICY, TrustAnchor
from authz.pki.cache.issuer_chains import CertificateSource, IssuerChain, issuer_chain_key

ALICE, BOB = (CA.leaf(name) for name in ("alice", "bob"))


def test_bag_counts_in_its_order_and_without_the_leaf() -> None:
    """Of equally promising issuers the search takes the first."""
    alice, bag = parsed(ALICE)[0], parsed(CA, BOB)
    assert (
        issuer_chain_key(alice, [*bag, alice], 1) == issuer_chain_key(alice, bag, 1) != issuer_chain_key(alice, bag, 2)
    )
    assert issuer_chain_key(alice, bag, 1) != issuer_chain_key(alice, bag[::-1], 1)
    assert issuer_chain_key(alice, bag, 1) != issuer_chain_key(
        parsed(CA.leaf("alice", without=[x509.AuthorityKeyIdentifier]))[0], bag, 1
    )


def test_leaf_that_passed_before_is_not_read_ahead_again() -> None:
    """Its key is the same."""
    alice = parsed(ALICE)[0]
    key = issuer_chain_key(alice, (), 1)
    alice.known_issuer_chain = object()
    assert issuer_chain_key(alice, (), 1) == key


def test_leaf_that_cannot_be_read_has_no_key() -> None:
    """Nothing is remembered under the empty one."""
    odd = handmade(CA.key, issuer=raw_name(b"\xe9"), subject=raw_name(b"alice"))  # type: ignore[arg-type]
    assert issuer_chain_key(parsed(odd)[0], (), 1) == ()


def test_chain_is_valid_while_all_its_certificates_are() -> None:
    """And is a chain of its own, whatever it is made of."""
    ca, root = parsed(CA, ROOT)
    chain, other = (
        IssuerChain((ca, root), TrustAnchor(root), DEFAULT_POLICY, 1, 9, 2, (CertificateSource.PRESENTED,))
        for _ in "ab"
    )
    assert (chain.begins, chain.ends) == (max(ca.not_before, root.not_before), min(ca.not_after, root.not_after))
    assert (chain.names, chain.between) == ({ca.subject, root.subject}, (CertificateSource.PRESENTED,))
    assert (chain.taken, chain.octets, chain.weight) == (1, 9, 2)
    assert chain.mark is not other.mark


def test_chain_is_unconstrained_where_nothing_is_said_of_names_and_policies() -> None:
    """By anchor, policy, or any of its certificates."""
    chain = IssuerChain(tuple(parsed(CA, ROOT)), TrustAnchor(parsed(ROOT)[0]), DEFAULT_POLICY, 1, 9)
    assert chain.unconstrained
    explicit = replace(DEFAULT_POLICY, require_explicit_policy=True)
    assert not IssuerChain(chain.certificates, chain.anchor, explicit, 1, 9).unconstrained
    name = x509.DNSName("a.test")
    for anchor in (TrustAnchor(chain.certificates[1], (name,)), TrustAnchor(chain.certificates[1], (), (name,))):
        assert not IssuerChain(chain.certificates, anchor, DEFAULT_POLICY, 1, 9).unconstrained
    for extension in (
        x509.NameConstraints([name], None),
        x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None),
    ):
        narrow = parsed(ROOT.intermediate("CA", extensions=[(extension, True)]), ROOT)
        assert not IssuerChain(tuple(narrow), chain.anchor, DEFAULT_POLICY, 1, 9).unconstrained
