"""The reader's one connection: what it notices."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import pytest
from support.directory import execute, new_store
from support.postgresql import new_url, server

from authz.directory import Store
from authz.directory.database import READ_ERRORS
from authz.directory.databases import database_of
from authz.directory.postgresql import primary_watcher
from authz.directory.postgresql.primary_watcher import EarlierTimelineError, PrimaryWatcher
from authz.model import Organization

pytestmark = pytest.mark.slow

ACME = Organization(0, "acme", ("acme.example.test",))


class Scene:
    """A directory, a writer, and a watcher of it."""

    def __init__(self) -> None:
        self.url = new_url()
        self.store: Store = new_store(self.url)
        watcher = database_of(self.url).watch()
        assert isinstance(watcher, PrimaryWatcher)
        self.watcher = watcher

    def version(self) -> Hashable:
        """What it sees now."""
        with self.watcher.connected() as connection:
            return self.watcher.version(connection)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """An empty one."""
    made = Scene()
    yield made
    made.watcher.close()
    made.store.close()


def test_version_is_another_once_somebody_committed(scene: Scene) -> None:
    """And the same as long as no process has; what a service reports is no change."""
    before = scene.version()
    assert scene.version() == before
    execute(scene.url, "INSERT INTO presentations (sha256, headers) VALUES (x'', x'')")
    assert scene.version() == before
    scene.store.add_organization(ACME)
    assert scene.version() != before
    assert scene.version() == scene.version()


def test_connection_that_fails_is_made_anew(scene: Scene) -> None:
    """After one error; the same server is no other directory."""
    before = scene.version()
    server().psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'authz'")
    with pytest.raises(READ_ERRORS):
        scene.version()
    assert scene.version() != before
    assert not scene.watcher.replaced


@pytest.mark.parametrize("identity", ["SELECT 1, '00000002'", "SELECT 2, '00000001'"])
def test_other_cluster_or_timeline_is_another_directory(
    scene: Scene, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that was promoted may lack commits, and use their numbers again."""
    monkeypatch.setattr(primary_watcher, "IDENTITY", "SELECT 1, '00000001'")
    scene.version()
    scene.watcher.close()
    scene.version()
    assert not scene.watcher.replaced
    scene.watcher.close()
    monkeypatch.setattr(primary_watcher, "IDENTITY", identity)
    scene.version()
    assert scene.watcher.replaced


def test_earlier_timeline_of_the_same_cluster_is_not_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A primary that was replaced and started again; nothing is taken from it until the later one answers."""
    later = "SELECT 1, '0000000A'"
    monkeypatch.setattr(primary_watcher, "IDENTITY", later)
    before = scene.version()
    scene.watcher.close()
    monkeypatch.setattr(primary_watcher, "IDENTITY", "SELECT 1, '00000009'")
    for _ in range(2):
        with pytest.raises(EarlierTimelineError):
            scene.version()
    monkeypatch.setattr(primary_watcher, "IDENTITY", later)
    assert scene.version() != before
    assert not scene.watcher.replaced
    monkeypatch.setattr(primary_watcher, "IDENTITY", "SELECT 2, '00000001'")
    scene.watcher.close()
    scene.version()
    assert scene.watcher.replaced


def test_identity_is_the_clusters_and_the_timeline(scene: Scene) -> None:
    """As any role may read it."""
    assert server().psql(primary_watcher.IDENTITY).endswith("|00000001")
    with scene.watcher.connected() as connection:
        assert scene.watcher.logs_utf8(connection)
