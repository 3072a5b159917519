"""In which order kept copies are read."""

from __future__ import annotations

from pathlib import Path

from support.certificates import name

from authz.crls.disk_store import DiskCopy
from authz.crls.load_order import COPY_COST, UnreadCopy, in_turns
from authz.pki.x509.distinguished_name import Name

MIB = 1 << 20
ACME, EVIL, OTHER = 1, 2, 3


def copy(called: str, octets: int, issuer: str, *organizations: int, deaths: int = 0) -> UnreadCopy:
    """A copy."""
    named = Name(name(issuer)) if issuer else None
    return UnreadCopy(DiskCopy(called, Path(called), deaths), octets, named, organizations)


def order(*copies: UnreadCopy) -> list[list[str]]:
    """The names, by group; those of one group sorted."""
    return [sorted(one.name for one in group) for group in in_turns(copies)]


def test_smallest_come_first() -> None:
    """Of one organization."""
    assert order(copy("b", 2, "B", ACME), copy("c", 3, "C", ACME), copy("a", 1, "A", ACME)) == [["a"], ["b"], ["c"]]


def test_organization_waits_for_others_as_long_as_for_its_own() -> None:
    """However many another has, small ones or large ones."""
    mine = [copy("mine", 40 * MIB, "A", ACME), copy("small", 1, "B", ACME)]
    theirs = [copy(f"{n}", 1, f"E{n}", EVIL) for n in range(2000)] + [copy("large", 64 * MIB, "L", EVIL)]
    found = order(*theirs, *mine)
    assert found.index(["small"]) <= 2
    assert found.index(["mine"]) * COPY_COST <= 42 * MIB
    assert found[-1] == ["large"]


def test_what_several_need_is_read_as_early_as_for_the_one_that_has_had_least() -> None:
    """One that names another's does not delay it."""
    theirs = [copy(f"{n}", n, f"E{n}", EVIL) for n in range(9)]
    assert order(*theirs, copy("shared", 10, "S", EVIL, OTHER)).index(["shared"]) <= 1


def test_crls_of_one_issuer_and_organization_are_one_group() -> None:
    """Of the same name and other organizations they are another CA's."""
    found = order(
        copy("complete", 9, "CA", ACME), copy("delta", 1, "CA", ACME, OTHER), copy("theirs", 1, "CA", EVIL),
        copy("joined", 1, "CA", OTHER), copy("else", 1, "Else", ACME),
    )  # fmt: skip
    assert sorted(found) == [["complete", "delta", "joined"], ["else"], ["theirs"]]


def test_copies_that_no_organization_needs_count_as_one_organizations() -> None:
    """Those whose issuer cannot be read among them."""
    found = order(copy("a", 1, "CA"), copy("b", 1, "CA"), copy("c", 1, ""), copy("d", 1, ""), copy("e", 1, "CA", ACME))
    assert sorted(found) == [["a", "b"], ["c", "d"], ["e"]]


def test_what_ended_a_reader_comes_last() -> None:
    """With all of its group."""
    assert order(copy("a", 1, "A", ACME, deaths=1), copy("b", 1, "A", ACME), copy("c", MIB, "C", ACME)) == [
        ["c"], ["a", "b"],
    ]  # fmt: skip
