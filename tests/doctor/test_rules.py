"""Each rule finds its fault in the shipped configuration, and what it says mends it; as shipped there is no fault."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from support.doctor_faults import DEPLOY, ENVOY, ENVOY_FAULTS, NGINX, NGINX_FAULTS, WORDS, changed, mended, rules_of
from support.requirements import need

from authz.doctor.findings import SEEN, ConfigFile, Report, Severity
from authz.doctor.lint import lint_sources
from authz.doctor.rules import RULES
from authz.doctor.service_settings import IDENTITY_HEADERS
from authz.envoy_sds import request_level_secret, sds_secret
from authz.web import answer

FAULTS = {
    **{rule: ("envoy.yaml", changed(ENVOY, changes)) for rule, changes in ENVOY_FAULTS.items()},
    **{rule: ("nginx.conf", changed(NGINX, changes)) for rule, changes in NGINX_FAULTS.items()},
}
EXPOSES = {"envoy-way-around", "nginx-server-unchecked", "nginx-service-cleartext"}
"""Once these are mended, something asks, or is asked by TLS, and is judged by the other rules for the first time."""


def report_of(name: str, text: str) -> Report:
    """What lint says of a text."""
    return lint_sources([ConfigFile(name, text)])


def test_every_rule_has_a_fault() -> None:
    """None is unproven; those that compare settings have theirs in test_settings_rules.py."""
    assert set(FAULTS) == {rule.id for rule in RULES if "-settings-" not in rule.id}


def test_ids_are_one_of_a_kind() -> None:
    """And say which proxy they are about."""
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.id.startswith(("envoy-", "nginx-")) for rule in RULES)


@pytest.mark.parametrize("rule", sorted(FAULTS))
@pytest.mark.slow
def test_fault_is_found_where_it_stands(rule: str) -> None:
    """By its rule, at a line of the file, with the reason and what to do."""
    name, text = FAULTS[rule]
    found = [finding for finding in report_of(name, text).findings if finding.rule == rule]
    assert found
    for finding in found:
        assert finding.file == name
        assert 1 <= finding.line <= len(text.splitlines())
        assert finding.what
        assert finding.why
        assert finding.mend


@pytest.mark.slow
@pytest.mark.parametrize("rule", sorted(set(FAULTS) - WORDS))
def test_fault_is_mended_by_what_is_said(rule: str) -> None:
    """The diff is one that `patch` takes; after it the rule finds nothing, and no other finds more than before."""
    need("patch", found=shutil.which("patch") is not None)
    name, text = FAULTS[rule]
    after = rules_of(mended(name, text, rule), name)
    assert rule not in after
    assert rule in EXPOSES or after < rules_of(text, name)


def test_rule_that_mends_in_words_has_no_diff() -> None:
    """The list above is true."""
    for rule in WORDS:
        assert not any(finding.diff for finding in report_of(*FAULTS[rule]).findings if finding.rule == rule)


def test_rule_says_how_it_is_shown() -> None:
    """With the real proxy, or why not."""
    assert all(rule.proof == SEEN or len(rule.proof) > 20 for rule in RULES)
    assert all(isinstance(rule.severity, Severity) and rule.what and rule.why and rule.source for rule in RULES)


def _shipped() -> dict[str, list[Any]]:
    envoy_tls = (DEPLOY / "envoy-mtls.yaml").read_text()
    merged = ENVOY[: ENVOY.index("  clusters:\n")] + "\n".join(f"  {line}" for line in envoy_tls.splitlines()) + "\n"
    merged += ENVOY[ENVOY.index("  - name: application\n    type") :]
    nginx_tls = (DEPLOY / "nginx-mtls.conf").read_text()
    begin, end = NGINX.index("    upstream authz {"), NGINX.index("    upstream application {")
    over_tls = (NGINX[:begin] + "    include authz-mtls.conf;\n\n" + NGINX[end:]).replace(
        "http://authz/", "https://authz/"
    )
    return {
        "envoy.yaml": [ConfigFile("envoy.yaml", ENVOY)],
        "envoy-mtls.yaml": [ConfigFile("envoy-mtls.yaml", envoy_tls)],
        "envoy-mtls.yaml in envoy.yaml": [ConfigFile("envoy.yaml", merged)],
        "envoy-gateway.yaml": [ConfigFile("envoy-gateway.yaml", (DEPLOY / "envoy-gateway.yaml").read_text())],
        "nginx.conf": [ConfigFile("nginx.conf", NGINX)],
        "nginx-mtls.conf": [ConfigFile("nginx-mtls.conf", nginx_tls)],
        "nginx-mtls.conf in nginx.conf": [ConfigFile("nginx.conf", over_tls), ConfigFile("authz-mtls.conf", nginx_tls)],
        "all": [ConfigFile("envoy.yaml", ENVOY), ConfigFile("nginx.conf", NGINX)],
    }


@pytest.mark.parametrize("which", sorted(_shipped()))
def test_shipped_configuration_is_clean(which: str) -> None:
    """Nothing found, and nothing that was not understood."""
    report = lint_sources(_shipped()[which])
    assert (report.findings, report.not_understood) == ((), ())


def test_secret_with_the_anchors_is_read() -> None:
    """As `authz anchor export --sds` writes it; the request level's is worth knowing of, and no more."""
    for secret, found in ((sds_secret("PEM"), set()), (request_level_secret(), {"envoy-untrusted-accepted"})):
        report = lint_sources([ConfigFile("envoy.yaml", ENVOY), ConfigFile("client-ca.yaml", secret)])
        assert {finding.rule for finding in report.findings} == found
        assert report.clean


def test_identity_headers_are_the_services() -> None:
    """The room may not import the adapter that returns them."""
    assert IDENTITY_HEADERS == answer.IDENTITY_HEADERS
