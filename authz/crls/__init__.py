"""Where CRLs come from: fetched with care, accepted in order, kept across restarts, asked for again in time."""

from authz.crls.disk_store import CrlDiskStore, DiskCopy, DiskStoreFailed, FetchRecord, copy_name
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.fetch.address_rules import AddressNotAllowed, AddressRules, HostRules
from authz.crls.fetch.client import Fetched, Fetcher, FetchLimits, NotModified, Validators
from authz.crls.fetch.crl_file import NotACrl, into_der
from authz.crls.load_keys import CrlsKey, PointsKey
from authz.crls.refresher import Refresher
from authz.crls.rules import CrlRules, ModeRule
from authz.crls.schedule import Schedule

__all__ = [
    "AddressNotAllowed",
    "AddressRules",
    "CrlDiskStore",
    "CrlRules",
    "CrlsKey",
    "DiskCopy",
    "DiskStoreFailed",
    "FailureKind",
    "FetchFailed",
    "FetchLimits",
    "FetchRecord",
    "Fetched",
    "Fetcher",
    "HostRules",
    "ModeRule",
    "NotACrl",
    "NotModified",
    "PointsKey",
    "Refresher",
    "Schedule",
    "Validators",
    "copy_name",
    "into_der",
]
