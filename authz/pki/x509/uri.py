"""URIs as the names of distribution points are compared (RFC 5280 section 7.4).

Section 7.4 asks for case, percent-encoding, path segment and scheme-based normalization of http, https, ldap and ftp
(RFC 3987 sections 5.3.2 and 5.3.3, for URIs those of RFC 3986 section 6.2). A URI of another scheme, or one that is
not well-formed, matches only the same text.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits, hexdigits
from typing import Final

_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ldap": "389", "ftp": "21"}

# RFC 3986 appendix B, for a hierarchical URI: user information, host and port; path; query and fragment.
_URI: Final = re.compile(
    r"(http|https|ldap|ftp)://([^/?#@]*@)?(\[[^/?#@\]]*\]|[^/?#@:\[\]]*)(?::([0-9]*))?(/[^?#]*)?([?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_NORMALIZED: Final = re.compile(r"(?:https?|ldap|ftp)://[a-z0-9.-]+/(?:[^%?#/.]|/(?!\.)|(?<!/)\.)*+")
"""The form in use, which nothing changes: no port, no capital in the host, nothing escaped, no segment of dots."""

_MALFORMED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!-~]")
"""What no URI holds (RFC 3986 section 2), though the library reads it: a lower case beyond ASCII would be a guess."""

_UNRESERVED: Final = frozenset(f"{ascii_letters}{digits}._~-")
_ESCAPES: Final = {
    first + second: character
    if (character := chr(int(first + second, 16))) in _UNRESERVED
    else f"%{first}{second}".upper()
    for first in hexdigits
    for second in hexdigits
}
"""What becomes of each pair of digits behind a percent sign (RFC 3986 sections 6.2.2.1 and 6.2.2.2)."""


def normalized(uri: str) -> str:
    """The URI in the one spelling that all equivalent ones have, in time linear in its length."""
    if _NORMALIZED.fullmatch(uri):
        return uri
    match = None if _MALFORMED.search(uri) else _URI.fullmatch(uri)
    if match is None:
        return uri
    scheme, user, host, port, path, rest = (part or "" for part in match.groups())
    scheme = scheme.lower()
    port = "" if port in ("", _DEFAULT_PORTS[scheme]) else f":{port}"
    # An escaped letter of a host may be a capital one.
    host = _decoded(_decoded(host).lower())
    return f"{scheme}://{_decoded(user)}{host}{port}{_without_dots(_decoded(path or '/'))}{_decoded(rest)}"


def _decoded(text: str) -> str:
    """Percent-encoded letters as they are, and what stays encoded in capitals."""
    first, *rest = text.split("%")
    return first + "".join([_ESCAPES[part[:2]] + part[2:] for part in rest])


def _without_dots(path: str) -> str:
    """The path without `.` and `..` (RFC 3986 section 5.2.4)."""
    if "/." not in path:
        return path
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == ".." and segments:
            segments.pop()
        elif segment not in (".", ".."):
            segments.append(segment)
    # What ends with one of them is a folder.
    folder = path.endswith(("/.", "/.."))
    return "/" + "/".join([*segments, ""] if folder else segments)
