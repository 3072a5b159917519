"""Certificates: their fields, names, extensions and algorithms (RFC 5280 section 4)."""
