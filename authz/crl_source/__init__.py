"""Where CRLs come from: fetched with care, accepted in order, kept across restarts, asked for again in time."""

from authz.crl_source.address import AddressRefused, AddressRules, HostRules
from authz.crl_source.body import NotACrl, into_der
from authz.crl_source.failures import FailureKind, FetchFailed
from authz.crl_source.fetch import Fetched, Fetcher, Limits, NotModified, Validators
from authz.crl_source.first_sight import CrlsKey, PointsKey
from authz.crl_source.keep import Keep, KeepFailed, Kept, Origin, name_of
from authz.crl_source.refresher import Refresher
from authz.crl_source.rules import CrlRules, LeniencyRule
from authz.crl_source.schedule import Schedule

__all__ = [
    "AddressRefused",
    "AddressRules",
    "CrlRules",
    "CrlsKey",
    "FailureKind",
    "FetchFailed",
    "Fetched",
    "Fetcher",
    "HostRules",
    "Keep",
    "KeepFailed",
    "Kept",
    "LeniencyRule",
    "Limits",
    "NotACrl",
    "NotModified",
    "Origin",
    "PointsKey",
    "Refresher",
    "Schedule",
    "Validators",
    "into_der",
    "name_of",
]
