"""The SDS file of Envoy's own validation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from authz.envoy_sds import replace_file, request_level_secret, sds_secret
from authz.errors import ConfigError


def test_secret_holds_the_anchors() -> None:
    """And suppresses the list of CA names; without anchors Envoy accepts any certificate, and the service refuses."""
    (anchored,) = json.loads(sds_secret("PEM"))["resources"]
    assert anchored["name"] == "client_ca"
    assert anchored["validation_context"] == {"trusted_ca": {"inline_string": "PEM"}, "suppress_client_ca_list": True}
    (requesting,) = json.loads(request_level_secret())["resources"]
    assert requesting["validation_context"] == {"trust_chain_verification": "ACCEPT_UNTRUSTED"}


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    """Another user's proxy can read it, and nothing else stays in the folder."""
    path = tmp_path / "client_ca.json"
    path.write_text("before")
    replace_file(path, "after")
    assert (path.read_text(), path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == ("after", 0o644, [path])


def test_file_in_a_folder_that_is_missing_is_a_config_error(tmp_path: Path) -> None:
    """With the reason of the system."""
    with pytest.raises(ConfigError, match="No such file"):
        replace_file(tmp_path / "missing" / "client_ca.json", "after")
