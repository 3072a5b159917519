"""What the transfers under way may take, and what they leave."""

from __future__ import annotations

from pathlib import Path

from authz.crls.failures import FetchFailed
from authz.crls.fetch.client import Limits
from authz.crls.fetch.transfer_quota import PARTIES, Claim, TransferQuota

MIB = 1 << 20
LIMITS = Limits()


def most(quota: TransferQuota, path: str, claim: Claim) -> int:
    """As many bytes as the transfer gets, which it takes."""
    least, beyond = 0, LIMITS.size + 1
    while beyond - least > 1:
        middle = (least + beyond) // 2
        try:
            quota.grow(Path(path), middle, claim)
            least = middle
        except FetchFailed:
            beyond = middle
    return least


def hostile(organizations: int) -> TransferQuota:
    """With two transfers of each, which take all they get."""
    quota = TransferQuota(LIMITS.together)
    for organization in range(organizations):
        for transfer in range(2):
            most(quota, f"{organization}.{transfer}", Claim(organization))
    return quota


def test_two_transfers_of_one_organization_share_what_it_may_have() -> None:
    """Half of what the others leave, not three quarters."""
    quota = hostile(1)
    assert sum(size for _, size in quota._sizes.values()) == 256 * MIB
    assert most(quota, "mine", Claim("acme")) == 128 * MIB


def test_two_hostile_organizations_leave_room_for_a_million_entries() -> None:
    """38 MB."""
    assert most(hostile(2), "mine", Claim("acme")) == 64 * MIB


def test_each_party_has_its_part_however_many_take_all_they_can() -> None:
    """Of a first CRL."""
    assert most(hostile(PARTIES), "mine", Claim("acme")) == LIMITS.together // PARTIES == 16 * MIB


def test_crl_that_is_held_can_be_renewed_whatever_others_take() -> None:
    """And be longer by a tenth."""
    assert most(hostile(PARTIES), "mine", Claim("acme", 40 * MIB)) == 44 * MIB


def test_transfer_that_ends_makes_room() -> None:
    """For its own party's next, too."""
    quota = hostile(1)
    quota.remove(Path("0.0"))
    quota.remove(Path("none"))
    assert most(quota, "next", Claim(0)) == 128 * MIB
