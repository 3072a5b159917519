"""Whether a certificate of a path is revoked (RFC 5280 section 6.3)."""
