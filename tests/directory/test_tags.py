"""A tag names one state of one line of changes."""

from __future__ import annotations

from authz.directory.keys import HostKey, UserKey
from authz.directory.sqlite.session import Reading, State
from authz.directory.tags import LINE, Tags


def test_nothing_is_tagged_before_the_first_reading() -> None:
    """No state of a directory has the tag that is there from the beginning."""
    tags = Tags()
    assert (tags.hosts, tags.shared_trust, tags.owners) == (-1, -1, {})
    assert tags.state == State()


def test_organizations_are_followed_once_a_row_of_theirs_was_asked_for() -> None:
    """Others that change cost nothing."""
    tags = Tags()
    tags.take(Reading(State(5, 4, 3, 2), changed={1: (5, 3), 2: (5, 1)}, found={UserKey(1, "a"): None}))
    assert tags.owners == {1: (5, 3)}
    tags.take(Reading(State(7, 4, 3, 2), changed={1: (6, 3), 2: (7, 1)}))
    assert tags.owners == {1: (6, 3)}
    assert (tags.hosts, tags.shared_trust, tags.crls) == (4, 3, 2)


def test_another_line_of_changes_has_no_tag_of_the_one_before() -> None:
    """Even where every number is the same: a restored copy."""
    tags = Tags()
    reading = Reading(State(5, 4, 3, 2), changed={1: (5, 3)}, found={UserKey(1, "a"): None})
    tags.take(reading)
    before = tags.hosts, tags.shared_trust, tags.crls, *tags.owners[1]
    tags.take(Reading(State(5, 4, 3, 2), anew=True, found={HostKey("h"): None}))
    assert tags.owners == {}
    reading.anew = False
    tags.take(reading)
    after = tags.hosts, tags.shared_trust, tags.crls, *tags.owners[1]
    assert [later - earlier for earlier, later in zip(before, after, strict=True)] == [LINE] * 5
