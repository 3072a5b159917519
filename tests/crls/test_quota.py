"""What CRLs take is charged, and bounded for each organization and for all together."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from support.certificates import NOW, tlv
from support.crl_world import CA, ROOT, crl, spki
from support.hostile_crls import attribute, certificate_issuer, directory_name, entry, point, signed

from authz.crls.acceptance import SignedCrl
from authz.crls.disk_store import FetchRecord
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.quota import GROWTH, NAME_CHARGE, SLICES, Charge, charge_of, check_quota, quota_for
from authz.crls.rules import CrlRules
from authz.crls.sources import CrlSource, CrlSources
from authz.crls.store import HeldCrl
from authz.model import CrlSourceKind
from authz.pki import Certificate, Crl

KIB = 1024
MIB = 1024 * KIB
URL = "http://acme.test/"
RULES = CrlRules(kept_octets=1024 * KIB, memory=1024 * KIB)
OPEN = 1024 - 2 * (1024 // SLICES)
"""KIB that are not left for what grows."""

NO_DESCRIPTORS = CrlRules(descriptors=2**60)
PLENTY = CrlRules(descriptors=2**60, memory=2**40)
"""Of everything but the disk."""
HELD = SignedCrl(Crl(crl()), spki(CA))


def named(sources: CrlSources, *points: tuple[int, str]) -> None:
    """Paths of these organizations led to these points."""
    path = [Certificate.parse(one.der) for one in (CA.leaf("alice"), CA, ROOT)]
    for organization, url in points:
        source = sources._point(organization, url)
        assert source is not None
        source.meet(organization, {one.spki_sha256: one.der for one in path[1:]})


def copies(*octets: tuple[str, int]) -> list[HeldCrl]:
    """CRLs of these lengths that came from these places."""
    return [HeldCrl(url, HELD, FetchRecord(url, None, None, NOW), size) for url, size in octets]


@pytest.fixture
def sources() -> CrlSources:
    """Two organizations with two points each, of which they share one, and an operator's URL."""
    made = CrlSources(["http://operator.test/"], 64, lambda _: None)
    named(made, (1, "http://a.test/1"), (1, "http://a.test/2"), (2, "http://b.test/1"), (2, "http://a.test/1"))
    return made


def kept(sources: CrlSources, url: str, held: Iterable[HeldCrl]) -> int:
    """The room on the disk, in KiB."""
    source = sources.get(url)
    assert source is not None
    return quota_for(source, held, sources, RULES).kept // KIB


def test_organization_has_half_of_what_the_others_leave(sources: CrlSources) -> None:
    """Less what it has; however much one takes, there is room for the other's."""
    held = copies(("http://a.test/2", 400 * KIB), ("http://b.test/1", 0))
    small = charge_of(held[1], RULES).kept // KIB + 1
    named(sources, (1, "http://a.test/3"))
    assert kept(sources, "http://a.test/3", held) == pytest.approx(OPEN // 2 - 400, abs=small)
    assert kept(sources, "http://b.test/1", held) == pytest.approx((OPEN - 400) // 2, abs=small)


def test_shared_point_counts_for_any_that_has_room(sources: CrlSources) -> None:
    """One that names another's point takes nothing from it by its own use."""
    held = copies(("http://a.test/2", 500 * KIB))
    assert kept(sources, "http://a.test/1", held) == (OPEN - 500) // 2


def test_operators_source_has_what_is_left(sources: CrlSources) -> None:
    """The operator who named it knows the disk."""
    held = copies(("http://a.test/2", 500 * KIB), ("http://b.test/1", 200 * KIB), ("http://nobody.test/", 100 * KIB))
    assert kept(sources, "http://operator.test/", held) == 1024 - 800


def test_point_not_named_since_the_start_has_half_of_the_rest(sources: CrlSources) -> None:
    """Its copy was kept, and its organization is not known yet."""
    held = copies(("http://a.test/2", 500 * KIB))
    assert (
        quota_for(CrlSource("http://c.test/", CrlSourceKind.POINT), held, sources, RULES).kept // KIB
        == (OPEN - 500) // 2
    )


def test_five_hundred_and_twelve_mib_are_one_organizations_at_most(sources: CrlSources) -> None:
    """However much room there is."""
    source = sources.get("http://a.test/1")
    assert source is not None
    assert quota_for(source, (), sources, CrlRules(kept_octets=2**40, memory=2**40)) == (2**29, 2**38)


def test_crl_is_charged_with_the_memory_that_it_takes(sources: CrlSources) -> None:
    """Names that differ in each entry take thirty times their length; the same name costs once."""
    charges = []
    for differing in (False, True):
        issuers = [certificate_issuer(directory_name(attribute(f"{differing * n:09}"))) for n in range(400)]
        listed = b"".join(entry(10**9 + number, one) for number, one in enumerate(issuers))
        held = SignedCrl(Crl(signed(CA, point(b"\x82\x01x", indirect=True), listed=listed)), b"")
        charges.append(charge_of(HeldCrl("x", held, FetchRecord("", None, None, NOW), 5), RULES))
    same, different = charges
    assert same.kept == pytest.approx(different.kept, abs=4)
    assert different.memory > same.memory + 400 * 500
    assert different.memory > 300 * KIB


def test_crl_beyond_the_room_in_memory_is_refused(sources: CrlSources) -> None:
    """Though it is short: a quarter of what all may take is one organization's."""
    (copy,) = copies(("http://a.test/2", 5))
    memory = charge_of(copy, NO_DESCRIPTORS).memory
    check_quota(copy, (), (), sources, CrlRules(memory=4 * memory, descriptors=2**60))
    with pytest.raises(FetchFailed) as caught:
        check_quota(copy, (), (), sources, CrlRules(memory=4 * memory - 4, descriptors=2**60))
    assert caught.value.kind is FailureKind.TOO_LARGE


def test_crl_beyond_the_room_on_the_disk_is_refused(sources: CrlSources) -> None:
    """What a source gave before counts, too: under another scope it stays."""
    before, copy = copies(("http://a.test/2", 300 * KIB), ("http://a.test/2", 300 * KIB))
    check_quota(copy, (), (), sources, RULES)
    with pytest.raises(FetchFailed) as caught:
        check_quota(copy, (), (before,), sources, RULES)
    assert caught.value.kind is FailureKind.TOO_LARGE


def test_newcomers_turn_out_no_crl_that_is_held(sources: CrlSources) -> None:
    """What takes no more than what it replaces is let in, however little the others leave; what takes more is not."""
    before, after, larger, other = copies(
        ("http://a.test/2", 400 * KIB), ("http://a.test/2", 400 * KIB), ("http://a.test/2", 500 * KIB),
        ("http://b.test/1", 600 * KIB),
    )  # fmt: skip
    check_quota(after, (before,), (other,), sources, RULES)
    assert kept(sources, "http://a.test/2", (before, other)) == 400
    with pytest.raises(FetchFailed):
        check_quota(larger, (before,), (other,), sources, RULES)


def test_copy_of_a_source_that_is_no_more_is_not_bounded(sources: CrlSources) -> None:
    """It was taken while it was one."""
    (copy,) = copies(("http://gone.test/", 2**40))
    check_quota(copy, (), (), sources, RULES)
    assert charge_of(copy, NO_DESCRIPTORS) == Charge(2**40, copy.crl.memory)


def test_names_of_a_point_are_charged_with_the_time_that_they_take() -> None:
    """Every process looks each of them up whenever a CRL changes."""
    held = SignedCrl(Crl(signed(CA, point(*[tlv(0x86, b"http://a.test/%d" % number) for number in range(100)]))), b"")
    copy = HeldCrl("x", held, FetchRecord("", None, None, NOW), 5)
    assert charge_of(copy, NO_DESCRIPTORS).memory == held.crl.memory + 100 * NAME_CHARGE


def take_all(sources: CrlSources, held: list[HeldCrl], organizations: int) -> None:
    """So many hostile organizations take what they may, in four CRLs each."""
    for organization in range(100, 100 + organizations):
        for number in range(4):
            named(sources, (organization, url := f"http://{organization}.test/{number}"))
            source = sources.get(url)
            assert source is not None
            held += copies((url, max(0, min(quota_for(source, held, sources, PLENTY).kept, 128 * MIB))))
    assert sum(one.size for one in held) <= PLENTY.kept_octets


@pytest.mark.parametrize("mib", [1, 8, 38, 100])
@pytest.mark.parametrize("hostile", [0, 5, 9])
def test_crl_that_is_held_can_grow_whatever_others_took(mib: int, hostile: int) -> None:
    """A revocation arrives, with an eighth more than there was."""
    sources = CrlSources([], 64, lambda _: None)
    named(sources, (1, URL))
    mine = copies((URL, mib * MIB))
    held = list(mine)
    take_all(sources, held, hostile)
    (longer,) = copies((URL, mib * MIB + mib * MIB // GROWTH))
    check_quota(longer, mine, held[1:], sources, PLENTY)


def test_each_of_twenty_organizations_has_its_part_of_a_slice_though_hostile_ones_took_all_they_may() -> None:
    """A first CRL, too: 3.2 MB in 1 GiB, 80,000 entries."""
    sources, held = CrlSources([], 64, lambda _: None), list[HeldCrl]()
    take_all(sources, held, 19)
    named(sources, (1, URL))
    source = sources.get(URL)
    assert source is not None
    assert quota_for(source, held, sources, PLENTY).kept == 1024 * MIB // SLICES // 20


def test_copies_are_bounded_by_the_descriptors_that_there_are() -> None:
    """One each, however small: of one organization a quarter."""
    rules = CrlRules(descriptors=64)
    sources, held = CrlSources([], 64, lambda _: None), list[HeldCrl]()
    named(sources, *((1, f"http://evil.test/{number}") for number in range(16)), (2, URL))
    for number in range(15):
        (copy,) = copies((f"http://evil.test/{number}", 5))
        check_quota(copy, (), held, sources, rules)
        held.append(copy)
    with pytest.raises(FetchFailed):
        check_quota(*copies(("http://evil.test/15", 5)), (), held, sources, rules)
    check_quota(*copies((URL, 5)), (), held, sources, rules)
