"""What every test can ask for."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (".", "vectors"):
    sys.path.insert(0, str(Path(__file__).parent / folder))
