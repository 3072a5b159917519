"""The file from which Envoy takes the anchors for its own validation, and how it is replaced under its eyes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from authz.errors import ConfigError


def sds_secret(pem: str) -> str:
    """The secret `client_ca` as Envoy reads it from a file: the anchors, and an empty list of names for clients."""
    return _secret({"trusted_ca": {"inline_string": pem}, "suppress_client_ca_list": True})


def request_level_secret() -> str:
    """The secret with which Envoy asks for a certificate and refuses none: every refusal is the service's.

    Without trusted_ca the list of names for clients is empty by itself.
    """
    return _secret({"trust_chain_verification": "ACCEPT_UNTRUSTED"})


def _secret(validation_context: dict[str, object]) -> str:
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "client_ca",
        "validation_context": validation_context,
    }
    # JSON is YAML, and leaves nothing to quoting.
    return json.dumps({"resources": [secret]}, indent=1) + "\n"


def replace_file(path: Path, text: str) -> None:
    """Write beside `path`, then rename over it: who watches sees the old file or the new. Raises `ConfigError`."""
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
