"""How much work one check may cost, so that no client can make a search endless.

Work that is cached counts too: a search bounded only by signatures runs on once they are all known.
"""

from __future__ import annotations

from dataclasses import dataclass

from authz.errors import Refused
from authz.reasons import Reason


@dataclass(slots=True)
class Budget:
    """What is left of each kind of work; each `spend_…` raises `Refused` (budget_exceeded) when it is used up.

    Defaults are the library's. `signatures` are weighted: one unit is one P-256 verification.
    """

    # Candidates looked at while building: webpki allows 200,000 in Rust; ours cost 5 us each, 50 ms is the bound.
    steps: int = 5_000
    # Go and webpki stop at 100 signatures of any kind; three units each, of 60 to 90 us, keep 50 ms at a distance.
    signatures: int = 300
    # webpki and Go allow 250,000 comparisons; ours cost about 1 us each.
    name_comparisons: int = 25_000
    # RFC 9618 makes the graph linear in depth times policies; 10 certificates of 100 policies fit.
    policy_nodes: int = 1_000
    # Certificates below the anchor: longer than any chain in use, and within the limit of recursion.
    depth: int = 30
    # Untrusted certificates that one search takes, duplicates and known ones dropped: all 181 CAs of PKITS fit.
    certificates: int = 250
    # Bytes of them and of the leaf: TLS 1.3 in OpenSSL takes chains of 100 KB, and clients send more than the chain;
    # the CAs of PKITS are 170 KB.
    octets: int = 200_000
    # Weights (`Certificate.weight`) of the untrusted certificates, each unit up to 1 us; the CAs of PKITS have 15,000.
    reading: int = 30_000

    @classmethod
    def service(cls) -> Budget:
        """The budget of one check of the service, whose clients send at most 10 certificates: below 5 ms.

        A header of 64 KB holds 48,000 bytes in base64. Of 300 real certificates most weigh 60 to 90, the
        heaviest 330.
        """
        return cls(
            steps=200, signatures=60, name_comparisons=2_000, policy_nodes=200, depth=10, certificates=10,
            octets=48_000, reading=1_000,
        )  # fmt: skip

    def take_certificates(self, count: int, octets: int, weight: int = 0) -> None:
        """A search takes `count` untrusted certificates: `octets` are their bytes and the leaf's, `weight` is theirs.

        Raises `Refused` (too_many_certificates, budget_exceeded).
        """
        if count > self.certificates:
            raise Refused(Reason.TOO_MANY_CERTIFICATES, f"{count} certificates, {self.certificates} are the limit")
        if octets > self.octets:
            raise Refused(Reason.BUDGET_EXCEEDED, f"{octets} octets of certificates, {self.octets} are the limit")
        if weight > self.reading:
            raise Refused(Reason.BUDGET_EXCEEDED, "too much in the names and extensions of the certificates sent along")

    def spend_step(self) -> None:
        """One candidate issuer is looked at."""
        self.steps -= 1
        if self.steps < 0:
            raise Refused(Reason.BUDGET_EXCEEDED, "too many candidate issuers")

    def spend_signature(self, cost: int) -> None:
        """One signature is verified, `cost` times as expensive as one with P-256."""
        self.signatures -= cost
        if self.signatures < 0:
            raise Refused(Reason.BUDGET_EXCEEDED, "too many signatures")

    def spend_names(self, comparisons: int) -> None:
        """`comparisons` names are compared with name constraints."""
        self.name_comparisons -= comparisons
        if self.name_comparisons < 0:
            raise Refused(Reason.BUDGET_EXCEEDED, "too many name comparisons")

    def spend_policy_nodes(self, nodes: int) -> None:
        """`nodes` nodes are added to the policy graph."""
        self.policy_nodes -= nodes
        if self.policy_nodes < 0:
            raise Refused(Reason.BUDGET_EXCEEDED, "too many certificate policies")
