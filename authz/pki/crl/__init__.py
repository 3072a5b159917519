"""One CRL: its header, entries, index and image (RFC 5280 section 5)."""
