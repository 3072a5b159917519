"""`authz doctor lint`, as an operator types it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from support.command_world import authz, write
from support.doctor_faults import ENVOY, ENVOY_FAULTS, NGINX, changed
from support.nginx_stage import DOCS

FAULTY = changed(ENVOY, ENVOY_FAULTS["envoy-failure-mode-allow"])
DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_clean_configuration_exits_0() -> None:
    """And says so."""
    done = authz("doctor", "lint", write("envoy.yaml", ENVOY), write("nginx.conf", NGINX))
    assert (done.code, done.out, done.err) == (0, "", "clean\n")


def test_finding_exits_1_and_says_what_why_where_and_how() -> None:
    """With a diff for that file."""
    done = authz("doctor", "lint", write("envoy.yaml", FAULTY))
    assert done.code == 1
    line = FAULTY.splitlines().index("              failure_mode_allow: true") + 1
    assert done.out.startswith(f"fatal  envoy-failure-mode-allow  envoy.yaml:{line}\n")
    for text in (
        "  why: ",
        "  mend: ",
        "-              failure_mode_allow: true",
        "+              failure_mode_allow: false",
    ):
        assert text in done.out
    assert done.err == "not clean: 1 fatal\n"


def test_findings_as_json() -> None:
    """One object."""
    done = authz("doctor", "lint", "--json", write("envoy.yaml", FAULTY))
    assert isinstance(done.data, dict)
    (finding,) = done.data["findings"]
    assert (done.code, done.data["clean"], done.data["not_understood"]) == (1, False, [])
    assert (finding["rule"], finding["severity"], finding["file"]) == (
        "envoy-failure-mode-allow",
        "fatal",
        "envoy.yaml",
    )


@pytest.mark.parametrize("text", ["", "a: [", "server {", "\xff\xfe", "a: &a [*a]", "---\na: 1\n---\nb: 2\n"])
def test_file_that_cannot_be_read_exits_2(text: str) -> None:
    """Whatever is wrong with it."""
    done = authz("doctor", "lint", write("a.conf", text.encode("latin-1")))
    assert (done.code, done.out) == (2, "")
    assert "a.conf" in done.err


def test_file_that_is_not_there_exits_2() -> None:
    """And so does an address where nothing answers, or that is invalid."""
    assert authz("doctor", "lint", "missing.yaml").code == 2
    assert authz("doctor", "lint", "--admin", "http://127.0.0.1:1").code == 2
    assert authz("doctor", "lint", "--admin", "file:///etc/passwd").code == 2
    assert authz("doctor", "lint").code == 2


def test_what_is_not_understood_is_not_clean() -> None:
    """It is named, and exits 1."""
    done = authz("doctor", "lint", write("deployment.yaml", "kind: Deployment\nmetadata: {name: x}\n"))
    assert done.code == 1
    assert done.out.startswith("not understood  deployment.yaml:1\n")
    assert "hint: " in done.err


def test_settings_are_compared() -> None:
    """Those of the documentation agree with the file that they are written for; others do not."""
    page = DOCS.read_text(encoding="utf-8")
    settings = write("authz.toml", page.partition("```toml\n")[2].partition("```")[0])
    files = [write("envoy.yaml", ENVOY), write("nginx.conf", NGINX)]
    done = authz("doctor", "lint", *files, "--config", settings, "--host", "acme.example.test")
    assert (done.code, done.out) == (0, "")
    write(
        "authz.toml",
        Path(settings).read_text().replace('form = "nginx-verify"', 'form = "none"').replace("nginx.sock", "n.sock"),
    )
    assert "nginx-settings-address" in authz("doctor", "lint", *files, "--config", settings).out
    assert authz("doctor", "lint", *files, "--config", "missing.toml").code == 2


def test_other_identity_headers_are_named_by_the_operator() -> None:
    """Those of an application that goes by other names."""
    done = authz("doctor", "lint", write("envoy.yaml", ENVOY), "--identity", "X-Roles")
    assert done.code == 1
    assert "x-roles" in done.out


def test_doctor_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is missing."""

    def missing(name: str) -> object:
        raise ModuleNotFoundError(name, name="crossplane")

    monkeypatch.setattr(importlib, "import_module", missing)
    done = authz("doctor", "lint", write("envoy.yaml", ENVOY))
    assert done.code == 2
    assert "hint: pip install 'mtls-authz[doctor]'" in done.err


def test_service_does_without_the_extra() -> None:
    """Its lock lacks the parser of nginx's configuration; that of YAML reads documents, too."""
    lock = (DEPLOY.parent / "requirements-service.lock").read_text().lower()
    assert "crossplane" not in lock


def test_what_a_file_holds_does_not_draw_on_the_terminal() -> None:
    """Escapes stay escaped."""
    text = ENVOY.replace("cluster: application,", 'cluster: "\\e[31mapplication",')
    done = authz(
        "doctor", "lint", write("envoy.yaml", text.replace("failure_mode_allow: false", "failure_mode_allow: true"))
    )
    assert "\x1b" not in done.out
