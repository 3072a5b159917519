"""What ends when, and whom `required` would refuse, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from types import MappingProxyType

from support.certificates import NOW
from support.decision_world import CrlStates, Reported
from support.metrics_text import metrics_of
from support.standing_clock import StandingClock

from authz.model import DirectoryReport, Expiring, FetchedCrl
from authz.telemetry import MAX_SERIES, Telemetry

CRL = FetchedCrl("n", "u", b"", b"acme's key", "CN=CA", None, False, 0, NOW, NOW + timedelta(hours=1), NOW)


def lines(
    report: DirectoryReport, *crls: FetchedCrl, key_sets: Mapping[str, float] = MappingProxyType({})
) -> list[str]:
    """The series that a report makes."""
    telemetry = Telemetry(BytesIO())
    telemetry.watch_directory(Reported(report), CrlStates(answering=list(crls)), lambda: key_sets, StandingClock())
    text = metrics_of(telemetry).decode()
    names = ("authz_expiry_seconds", "authz_observed_users", "authz_directory_changed")
    return [line for line in text.splitlines() if line.startswith(names)]


def test_first_end_of_each_kind_is_measured_by_organization() -> None:
    """In seconds from now on, with no organization for what all share; and what else the report has."""
    ends = {(Expiring.REGISTRATION, "acme"): NOW + timedelta(days=1), (Expiring.ANCHOR, ""): NOW + timedelta(days=2)}
    report = DirectoryReport(ends, observed={"acme": 3}, changed_at=NOW)
    *series, changed = lines(report)
    assert series == [
        'authz_expiry_seconds{kind="registration",organization="acme"} 86400.0',
        'authz_expiry_seconds{kind="anchor",organization=""} 172800.0',
        'authz_observed_users{organization="acme"} 3.0',
    ]
    name, _, seconds = changed.partition(" ")
    assert (name, float(seconds)) == ("authz_directory_changed_timestamp_seconds", NOW.timestamp())


def test_crl_counts_for_the_organizations_whose_ca_signed_it() -> None:
    """The first nextUpdate of each, also one that has passed; one of no known CA counts for no organization."""
    signers = {b"acme's key": frozenset({"acme", "globex"}), b"globex's key": frozenset({"globex"})}
    passed = replace(CRL, signer=b"globex's key", next_update=NOW - timedelta(minutes=1))
    stray = replace(CRL, signer=b"another key", next_update=NOW + timedelta(hours=5))
    endless = replace(CRL, next_update=None)
    assert lines(DirectoryReport(signers=signers), CRL, passed, stray, endless) == [
        'authz_expiry_seconds{kind="crl",organization="globex"} -60.0',
        'authz_expiry_seconds{kind="crl",organization="acme"} 3600.0',
        'authz_expiry_seconds{kind="crl",organization=""} 18000.0',
    ]


def test_key_set_that_cannot_be_read_counts_for_its_organizations() -> None:
    """For as long as its last good copy is usable; one of no organization, which is gone meanwhile, counts for none."""
    report = DirectoryReport(key_sets={"k": frozenset({"acme", "globex"}), "fine": frozenset({"initech"})})
    assert sorted(lines(report, key_sets={"k": 600.0, "gone": 1.0})) == [
        'authz_expiry_seconds{kind="key_set",organization="acme"} 600.0',
        'authz_expiry_seconds{kind="key_set",organization="globex"} 600.0',
    ]


def test_series_are_bounded_and_those_that_end_first_are_kept() -> None:
    """However many organizations there are; of the users of observe, the organizations with most."""
    many = range(MAX_SERIES + 9)
    ends = {(Expiring.REGISTRATION, f"org{number}"): NOW + timedelta(days=number) for number in many}
    observed = {f"org{number}": number for number in many}
    kept = lines(DirectoryReport(ends, observed=observed))
    assert sum(line.startswith("authz_expiry_seconds") for line in kept) == MAX_SERIES
    assert sum(line.startswith("authz_observed_users") for line in kept) == MAX_SERIES
    assert 'authz_expiry_seconds{kind="registration",organization="org0"} 0.0' in kept
    assert not any('"org0"} 0.0' in line for line in kept if line.startswith("authz_observed"))


def test_name_of_an_organization_breaks_no_line() -> None:
    """What a name may hold is escaped."""
    ends = {(Expiring.ANCHOR, 'a"\n\u202e'): NOW}
    assert lines(DirectoryReport(ends)) == [
        'authz_expiry_seconds{kind="anchor",organization="a\\"\\\\u000a\\\\u202e"} 0.0'
    ]


def test_directory_that_was_never_read_has_no_series() -> None:
    """Until the first report there is nothing to say."""
    assert lines(DirectoryReport()) == []
