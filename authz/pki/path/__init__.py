"""Certification path building and validation (RFC 4158; RFC 5280 section 6.1)."""
