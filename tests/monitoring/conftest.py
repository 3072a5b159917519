"""A real service, scraped once for all that compare with the scrape."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from support.monitored import Monitored, Series
from support.requirements import need
from support.served import end


@pytest.fixture(scope="package")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """A service that has answered a request of every outcome, refused a handshake, and tried a CRL's source in vain."""
    made = Monitored(tmp_path_factory.mktemp("m"))
    try:
        made.exercise()
        yield made
    finally:
        end(made)


@pytest.fixture(scope="package")
def scraped(monitored: Monitored) -> dict[str, set[str]]:
    """The labels of each metric in a scrape, by its name."""
    labels: dict[str, set[str]] = {}
    for series in monitored.series():
        labels.setdefault(series.name, set()).update(series.labels)
    return labels


@pytest.fixture(scope="package")
def series(monitored: Monitored) -> list[Series]:
    """A scrape."""
    return monitored.series()


@pytest.fixture
def promtool() -> str:
    """Debian's, of the package `prometheus`."""
    found = shutil.which("promtool")
    need("promtool", found=found is not None)
    return str(found)
