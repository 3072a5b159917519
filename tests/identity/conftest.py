"""Key sets are read to the end, however busy the machine is."""

from __future__ import annotations

import pytest

from authz.identity import keys


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on a file's being read within a tenth of a second."""
    monkeypatch.setattr(keys, "PATIENCE_SECONDS", 60.0)
