"""The report of the directory, read in a thread while everything goes on; and the service's own certificates."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from support.certificates import NOW, Authority, chain_pem
from support.directory import new_store
from support.standing_clock import StandingClock

from authz.app.config import Settings, parse_settings
from authz.app.directory_reports import EVERY_SECONDS, DirectoryReports, own_tls_end
from authz.model import DirectoryReport, Expiring
from authz.pki import Certificate

DAY = timedelta(days=1)


def settings(folder: Path, **more: object) -> Settings:
    """Settings with a directory in a folder."""
    return parse_settings({"database": f"sqlite:///{folder}/authz.db", **more}, origin="test")


async def test_report_is_read_again_and_a_failure_leaves_the_last_one(tmp_path: Path) -> None:
    """A directory that cannot be read is reported once, until it can be again."""
    store = new_store(f"sqlite:///{tmp_path}/authz.db")
    warnings: list[str] = []
    reports = DirectoryReports(settings(tmp_path), StandingClock(), warn=warnings.append)
    assert reports.report == DirectoryReport()
    store.add_anchors(None, [Certificate.parse(Authority.root("Root", not_after=NOW + DAY).der)])
    await reports.refresh()
    expected = {(Expiring.ANCHOR, ""): NOW + DAY}
    assert reports.report.ends == expected
    store.close()
    for path in tmp_path.glob("authz.db*"):
        path.rename(path.with_name(f"away-{path.name}"))
    for _ in range(2):
        await reports.refresh()
    assert reports.report.ends == expected
    assert warnings == ["the directory cannot be read for the metrics of what expires: the last ones stay"]
    await reports.close()


async def test_first_report_is_read_at_the_start(tmp_path: Path) -> None:
    """And none after the end, which waits for no read."""
    store = new_store(f"sqlite:///{tmp_path}/authz.db")
    store.add_anchors(None, [Certificate.parse(Authority.root("Root", not_after=NOW + DAY).der)])
    store.close()
    reports = DirectoryReports(settings(tmp_path), StandingClock(), warn=print)
    reports.start()
    while not reports.report.ends:
        await asyncio.sleep(0.01)
    await reports.close()
    assert reports._task is not None
    assert reports._task.cancelled()


@pytest.mark.parametrize(("took", "pause"), [(0.01, EVERY_SECONDS), (10.0, 300.0)])
async def test_reading_takes_a_thirtieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, took: float, pause: float
) -> None:
    """Every minute; a large history, which takes seconds, is read less often."""
    clock = StandingClock()
    reports = DirectoryReports(settings(tmp_path), clock, warn=print)
    pauses: list[float] = []

    async def refresh() -> None:
        clock.seconds += took

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr(reports, "refresh", refresh)
    monkeypatch.setattr("authz.app.directory_reports.asyncio.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        await reports._run()
    assert pauses == [pytest.approx(pause)]
    monkeypatch.undo()
    await reports.close()


def test_own_certificate_counts_also_when_it_has_expired(tmp_path: Path) -> None:
    """The CAs of clients and gateways count while they last: a bundle may keep those that have ended."""
    root = Authority.root("Root", not_after=NOW + 9 * DAY)
    files = {
        "server": root.leaf("service", not_after=NOW + 5 * DAY),
        "expired": root.leaf("service", not_after=NOW - DAY),
        "clients": Authority.root("Clients", not_after=NOW + 7 * DAY),
        "gateways": Authority.root("Gateways", not_after=NOW + 3 * DAY),
        "ended": Authority.root("Ended", not_after=NOW - DAY),
    }
    for name, certificate in files.items():
        (tmp_path / f"{name}.pem").write_text(chain_pem(certificate))
    with (tmp_path / "clients.pem").open("a") as bundle:
        bundle.write(chain_pem(files["ended"]))

    def tls(certificate: str) -> dict[str, object]:
        paths = {"certificate": f"{tmp_path}/{certificate}.pem", "key": "k", "client_ca": f"{tmp_path}/clients.pem"}
        return {"tls": {**paths, "names": ["x"]}}

    def end(**sections: object) -> timedelta | None:
        moment = own_tls_end(settings(tmp_path, **sections), NOW)
        return None if moment is None else moment - NOW

    gateway = {"trusted_proxies": [{"anchors": f"{tmp_path}/gateways.pem", "names": ["g"]}]}
    listener = {"address": "127.0.0.1:0"}
    assert end() is None
    assert end(ops=tls("server")) == 5 * DAY
    assert end(ops=tls("expired")) == -DAY
    assert end(ops=tls("missing")) == 7 * DAY
    assert end(listener=[listener | tls("server")]) == 5 * DAY
    assert end(ops=tls("server"), listener=[gateway]) == 3 * DAY
