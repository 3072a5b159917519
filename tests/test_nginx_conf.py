"""deploy/nginx.conf, read: no way round the check is in it, and nothing trusted passes as the client wrote it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from authz.headers import KNOWN_HEADERS
from authz.web.answer import COMPLETED_BY, IDENTITY_HEADERS

TEXT = (Path(__file__).parents[1] / "deploy" / "nginx.conf").read_text(encoding="utf-8")
DIRECTIVES = re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)
SET_FOR_APPLICATION = dict(
    re.findall(r"^    proxy_set_header (\S+) (.+);$", DIRECTIVES, re.MULTILINE)  # four spaces: at the top, inherited
)
CHECKS = re.findall(r"location = /_authz \{(.*?)\n        \}", DIRECTIVES, re.DOTALL)


@pytest.mark.parametrize("header", IDENTITY_HEADERS)
def test_identity_header_is_replaced_by_the_services(header: str) -> None:
    """Each of the five, by a variable that the check sets."""
    name = header.removeprefix("x-").replace("-", "_")
    by_name = {key.lower(): value for key, value in SET_FOR_APPLICATION.items()}
    assert by_name[header] == f"${name}"
    assert f"auth_request_set ${name} $upstream_http_x_{name};" in DIRECTIVES


@pytest.mark.parametrize("header", [*sorted(KNOWN_HEADERS), COMPLETED_BY, "x-authz-peer", "authorization"])
def test_header_that_only_proxies_may_set_is_removed(header: str) -> None:
    """Under every name that the service knows."""
    assert {key.lower(): value for key, value in SET_FOR_APPLICATION.items()}[header] == '""'


def test_proxy_set_header_stands_at_the_top_and_in_the_checks_only() -> None:
    """One in a server or location for the application would lose all that is inherited."""
    inside = sum(one.count("proxy_set_header") for one in CHECKS)
    assert DIRECTIVES.count("proxy_set_header") == len(SET_FOR_APPLICATION) + inside


def test_both_listeners_ask_in_the_same_words() -> None:
    """What is mended in one is mended in the other."""
    first, second = CHECKS
    assert first == second
    refused = re.findall(r"location @refused \{(.*?)\n        \}", DIRECTIVES, re.DOTALL)
    assert len(refused) == 2
    assert refused[0] == refused[1]


@pytest.mark.parametrize(
    ("directive", "count"),
    [
        (r"auth_request /_authz;", 1),
        (r"auth_request off;", 2),
        (r"internal;", 2),
        (r"proxy_pass_request_headers off;", 2),
        (r"proxy_pass_request_body off;", 2),
        (r"proxy_set_header Host \$host;", 3),
        (r"\$http_host", 0),
        (r"satisfy any", 0),
        (r"rewrite ", 0),
        (r"error_page ", 2),
        (r"error_page (401 403|495 =403) @refused;", 2),
        (r"return ", 2),
        (r"return 2", 0),
        (r"try_files|alias |root |mirror|ssi |slice |if \(", 0),
        (r"ssl_session_cache off;", 1),
        (r"ssl_session_tickets off;", 1),
        (r"ssl_session_cache shared", 0),
        (r"ssl_client_certificate|ssl_crl|ssl_verify_client o(n|ptional);", 0),
        (r"location ", 6),
        (r"listen \d+ ssl default_server;\n        server_name _;", 2),
        (r"listen ", 2),
    ],
)
def test_directive_stands_as_often_as_it_should(directive: str, count: int) -> None:
    """The known bypasses are not in it; what closes them is."""
    assert len(re.findall(directive, DIRECTIVES)) == count
