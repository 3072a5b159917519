"""Identifies the user of a request: by the header of a trusted filter in the proxy, or by a token verified here."""
