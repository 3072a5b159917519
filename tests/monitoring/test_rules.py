"""The alerting rules: Prometheus' own tests of them, and every name in them in a real scrape."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support.generate_docs import ROOT
from support.promql import names_in
from support.requirements import need

from authz.reasons import Reason

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
UNIT_TESTS = Path(__file__).with_name("rules.test.yml")
ALERTS = [rule["alert"] for rule in RULES]


def run(*command: str | Path) -> str:
    """What a program says that finds nothing wrong."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=UNIT_TESTS.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def amtool() -> str:
    """Debian's, of the package `prometheus-alertmanager`."""
    found = shutil.which("amtool")
    need("amtool", found=found is not None)
    return str(found)


def test_rules_fire_on_what_they_are_for_and_on_nothing_else(promtool: str) -> None:
    """Prometheus itself evaluates them, on series drawn for each."""
    assert f"{len(RULES)} rules found" in run(promtool, "check", "rules", PROMETHEUS / "rules.yml")
    assert "SUCCESS" in run(promtool, "test", "rules", UNIT_TESTS)


def test_broken_rule_fails_its_test(promtool: str, tmp_path: Path) -> None:
    """The evaluation that finds nothing wrong above can find something."""
    (tmp_path / "rules.yml").write_text((PROMETHEUS / "rules.yml").read_text().replace("< 3600\n", "< 60\n"))
    broken = tmp_path / "rules.test.yml"
    broken.write_text(UNIT_TESTS.read_text().replace("../../deploy/prometheus/", ""))
    done = subprocess.run([promtool, "test", "rules", broken], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "AuthzCrlEnding" in done.stdout + done.stderr


def test_every_rule_is_tested_firing_and_silent() -> None:
    """And has what an alert needs."""
    tests = yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for fires in (True, False):
        assert {case["alertname"] for case in cases if bool(case.get("exp_alerts")) is fires} == set(ALERTS)
    assert all(rule["labels"]["severity"] in {"critical", "warning", "info"} for rule in RULES)
    assert len(set(ALERTS)) == len(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=ALERTS)
def test_every_name_in_a_rule_is_in_a_real_scrape(rule: dict[str, str], scraped: dict[str, set[str]]) -> None:
    """Metrics and labels; Prometheus itself adds job and instance."""
    for metric, labels in names_in(rule["expr"]).items():
        assert metric in scraped
        assert labels <= scraped[metric] | {"job", "instance"}
    texts = " ".join(rule["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", texts))
    assert named <= {label for metric in names_in(rule["expr"]) for label in scraped[metric]} | {"job", "instance"}


def test_reasons_in_rules_are_those_that_are_not_decided() -> None:
    """Every reason that is answered with 503, in both rules that divide by them."""
    undecided = {reason.value for reason in Reason if reason.status == 503}
    divided = [re.findall(r'reason[=!]~"([^"]+)"', rule["expr"]) for rule in RULES]
    patterns = [pattern for patterns in divided for pattern in patterns]
    assert [set(pattern.split("|")) for pattern in patterns] == [undecided, undecided]


def test_every_alert_is_explained() -> None:
    """docs/operations.md says what to do about each, with its severity."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("## Alerts\n")[2].partition("\n## ")[0]
    rows = [re.findall(r"`(Authz\w+)`", row) for row in re.findall(r"^\| (`Authz.+)$", section, re.MULTILINE)]
    assert sorted(name for row in rows for name in row) == sorted(ALERTS)
    for rule in RULES:
        (row,) = re.findall(rf"^\|.*`{rule['alert']}`.*$", section, re.MULTILINE)
        assert rule["labels"]["severity"] in row


def test_configuration_of_prometheus_is_valid(promtool: str, tmp_path: Path) -> None:
    """Its TLS files and rules are there; the rules it names are the shipped ones."""
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    for name in re.findall(r"/etc/prometheus/tls/(\S+)", text):
        (tmp_path / name).touch()
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/tls", str(tmp_path)))
    shutil.copy(PROMETHEUS / "rules.yml", tmp_path)
    assert f"{len(RULES)} rules found" in run(promtool, "check", "config", tmp_path / "prometheus.yml")


def test_configuration_of_alertmanager_is_valid(amtool: str) -> None:
    """Mail for every severity: critical to those on call, the rest to those who look after certificates."""
    path = PROMETHEUS / "alertmanager.yml"
    assert "SUCCESS" in run(amtool, "check-config", path)
    for severity, receiver in (("critical", "on-call"), ("warning", "certificates"), ("info", "certificates")):
        assert run(amtool, "config", "routes", "test", f"--config.file={path}", f"severity={severity}").split() == [
            receiver
        ]
    inhibited = re.findall(r'alertname="(\w+)"', path.read_text(encoding="utf-8"))
    assert set(inhibited) <= set(ALERTS)
