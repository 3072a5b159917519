"""The values that the whole service speaks in: made by the adapters, read by the core.

Certificates are DER bytes here; `authz.pki` gives them meaning. Times are aware and in UTC.
A certificate's identity is the SHA-256 of its DER (32 bytes), never a name.
"""

from __future__ import annotations

from authz.model.crl_status import CrlRow, CrlSourceKind, CrlSourceState, FetchedCrl
from authz.model.directory_report import DirectoryReport, Expiring, key_set_id
from authz.model.history import KeptAllowed, Outcome, RecordedDecision
from authz.model.listener import CertificateForm, ClientRequestHeaders, HeaderRules, IndicatorForm
from authz.model.request import Binding, CheckRequest, Identity, LeafKeys, PresentedChain, fold
from authz.model.tenancy import (
    DEFAULT_KINDS,
    DEFAULT_PATHS,
    Algorithm,
    BindingScope,
    Enforcement,
    Organization,
    PathSettings,
    Registration,
    RegistrationKind,
    RegistrationState,
    TokenSettings,
    User,
)

__all__ = [
    "DEFAULT_KINDS", "DEFAULT_PATHS", "Algorithm", "Binding", "BindingScope", "CertificateForm", "CheckRequest",
    "ClientRequestHeaders", "CrlRow", "CrlSourceKind", "CrlSourceState", "DirectoryReport", "Enforcement", "Expiring",
    "FetchedCrl", "HeaderRules", "Identity", "IndicatorForm", "KeptAllowed", "LeafKeys", "Organization", "Outcome",
    "PathSettings", "PresentedChain", "RecordedDecision", "Registration", "RegistrationKind", "RegistrationState",
    "TokenSettings", "User", "fold", "key_set_id",
]  # fmt: skip
