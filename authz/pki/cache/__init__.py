"""Every cache of the validator, and the memory that all caches of the service share (`shared`).

Cached is what cannot change, or what its key pins to one state of the inputs; never a verdict: each check compares
times again, looks for its leaf in the CRLs again, and binds again. A fact about certificates is admitted when the path
of a check completed, so that a stranger's certificates fill nothing. `tests/pki/path/test_fast_path.py` draws chains of
every feature and demands the same answer with a filled cache and without one.

"Saves" is measured with a chain of three and two CRLs, in verifications of one P-256 signature (60 to 90 us).

verified.VerifiedCache, one for each tenant; its parts:
    certificates        DER -> `Certificate`, as far as it was read. Never undone. Up to 16 KB of DER, 64 KiB once read.
                        Saves 0.8 for a known leaf: parsing and reading it.
    signatures          (SHA-256 of a certificate, of its issuer's key) -> verified. Never undone.
                        Saves one verification for each certificate of a path.
    CRL signatures,     (SHA-256 of a CRL, of a key) -> verified, or not: two caches, so that refutations, which a
    CRL refutations     client can bring about, evict nothing else. Never undone. Saves one verification for each CRL.
    issuers             DER of an issuer's name -> `extensions.KnownIssuer`: the name as read, and up to 16 lists of
                        extensions by their bytes without key identifier and alternative names. Never undone.
                        Saves 0.6 for each new leaf of a known CA.
    issuer_chains       (mark of the trust store, issuer, key identifier, presented certificates) ->
                        `issuer_chains.IssuerChain`: the CAs up to an anchor. Another trust store has another mark,
                        and an organization's policy belongs to it; another policy replaces the entry. Not where the
                        search backtracked, nor with keys above 16 KiB.
                        Saves 0.4 for every check, together with the assurances.

In the memory of one `CrlStore`, for each tenant; another store, that is: any other CRL, undoes all of it. It hangs on
the store because its values hold CRLs, which must not outlive the store:
    plans.PlanCache     (distribution points, CA or not, SHA-256 of all above) -> `crl_scope.RevocationPlan`: which CRLs
                        are applicable, whatever the policy. Not for long lists of points, nor while a CRL signer is
                        being proven.
                        Saves 0.3 for every check that takes path building.
    assurances.         (mark of an issuer chain, points, CA or not) -> `Assurance`: proofs for the CAs, with the dates
    AssuranceCache      between which they hold, and the CRLs applicable to such a leaf.

On other objects, because a look-up would cost more than it saves:
    Certificate.known_issuer_chain   the mark of the issuer chain under which this certificate passed all but dates and
                                     revocation. Undone by another chain.
    CrlHeader.signed_by              the key under which the CRL's signature verified last, whatever the tenant: of many
                                     that share a CA, each but the first is saved that verification.
    Extensions.points                the distribution points as they are worked with, shared by leaves with one list.

Bounds: `shared.SharedCache` holds all tenants' caches within one number of bytes (`limits.memory`), as `weights` counts
them, and evicts from the idle tenant, else from the one that holds most; from its heaviest cache; the oldest entry that
was not used. The memory of a `CrlStore` is a `SharedCache` of its own, of 16 MiB (`crl_store.MAX_REMEMBERED`).
"""

from authz.pki.cache.shared import DEFAULT_BYTES, Cache, SharedCache, Tenant, alone
from authz.pki.cache.weights import CERTIFICATE_BYTES, weigh

__all__ = ["CERTIFICATE_BYTES", "DEFAULT_BYTES", "Cache", "SharedCache", "Tenant", "alone", "weigh"]
