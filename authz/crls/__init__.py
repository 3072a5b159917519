"""Where CRLs come from: fetched with care, accepted in order, kept across restarts, asked for again in time."""

from authz.crls.disk_store import Keep, KeepFailed, Kept, Origin, name_of
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.fetch.address_rules import AddressRefused, AddressRules, HostRules
from authz.crls.fetch.client import Fetched, Fetcher, Limits, NotModified, Validators
from authz.crls.fetch.crl_file import NotACrl, into_der
from authz.crls.load_keys import CrlsKey, PointsKey
from authz.crls.refresher import Refresher
from authz.crls.rules import CrlRules, ModeRule
from authz.crls.schedule import Schedule

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
    "Limits",
    "ModeRule",
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
