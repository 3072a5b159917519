"""The bounded room of what is remembered: one bound in bytes over all tenants, and what things weigh in it."""

from authz.pki.cache.shared import DEFAULT_BYTES, Cache, SharedCache, Tenant, alone
from authz.pki.cache.weights import (
    CERTIFICATE_BYTES,
    MAX_CERTIFICATE,
    MAX_DER,
    extensions_weight,
    name_weight,
    points_weight,
    weigh,
    weight_of,
)

__all__ = [
    "CERTIFICATE_BYTES",
    "DEFAULT_BYTES",
    "MAX_CERTIFICATE",
    "MAX_DER",
    "Cache",
    "SharedCache",
    "Tenant",
    "alone",
    "extensions_weight",
    "name_weight",
    "points_weight",
    "weigh",
    "weight_of",
]
