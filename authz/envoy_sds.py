"""The SDS file from which Envoy reads the anchors for its own validation, and its atomic replacement."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from authz.errors import ConfigError


def sds_secret(pem: str) -> str:
    """The secret `client_ca` as Envoy reads it from a file: the anchors, and no list of CA names for clients."""
    return _secret({"trusted_ca": {"inline_string": pem}, "suppress_client_ca_list": True})


def request_level_secret() -> str:
    """The secret with which Envoy requests a certificate and accepts any: only the service refuses.

    Without trusted_ca the list of CA names for clients is always empty.
    """
    return _secret({"trust_chain_verification": "ACCEPT_UNTRUSTED"})


def _secret(validation_context: dict[str, object]) -> str:
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "client_ca",
        "validation_context": validation_context,
    }
    # JSON is valid YAML, with unambiguous quoting.
    return json.dumps({"resources": [secret]}, indent=1) + "\n"


def replace_file(path: Path, text: str) -> None:
    """Write a new file, then rename it to `path`: readers see the old file or the new. Raises `ConfigError`."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # The proxy is another user; certificates of CAs are public.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="check the folder and its permissions"
        ) from error
