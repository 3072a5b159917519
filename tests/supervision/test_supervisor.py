"""Several processes that answer as one: they live, are replaced, and end together. All of them are real."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from support.big_crl import big_crl, serials
from support.certificates import Authority
from support.clocked_supervisor import Crew
from support.proxy_tls import MESH, server, write
from support.served import PATIENCE, Served, end, opened_files

from authz.app.config import parse_settings
from authz.directory.database import VERSION
from authz.supervision.supervisor import Supervisor
from authz.telemetry import Telemetry
from authz.web.sockets import bind


@pytest.fixture
def apart(tmp_path: Path) -> Served:
    """Not started yet."""
    return Served(tmp_path)


def test_service_ends_with_all_its_processes(served: Served) -> None:
    """In order, with its socket removed."""
    children = served.children
    assert len(children) == 3
    assert served.check() == 403
    assert served.stop() == 0
    assert served.events[-1] == "stopping"
    assert not served.socket.exists()
    assert not any(Path(f"/proc/{one}").exists() for one in children)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_process_that_is_killed_is_started_again(left_whole: Served, which: int) -> None:
    """The manager as well as a worker; the others go on, and the metrics say that it happened."""
    victim = left_whole.children[which]
    before, restarts = left_whole.children, sum(left_whole.metric("authz_process_restarts_total").values())
    os.kill(victim, signal.SIGKILL)
    left_whole.until(lambda: victim not in left_whole.children and len(left_whole.children) == len(before))
    assert left_whole.check() == 403
    left_whole.until(lambda: sum(left_whole.metric("authz_process_restarts_total").values()) == restarts + 1)
    left_whole.until(lambda: set(left_whole.metric("authz_process_ready").values()) == {1.0})
    assert left_whole.get("/readyz")[0] == 200


def test_worker_that_hangs_is_killed_and_replaced(left_whole: Served) -> None:
    """It was sent nothing and sends nothing; the others answer meanwhile."""
    victim = left_whole.children[-1]
    os.kill(victim, signal.SIGSTOP)
    left_whole.until(lambda: victim not in left_whole.children)
    left_whole.until(lambda: len(left_whole.children) == 3)
    assert any("hangs" in str(one.get("message")) for one in left_whole.lines)


def test_service_that_was_paused_as_a_whole_kills_no_process(left_whole: Served) -> None:
    """A supervisor that was away itself knows nothing of the others."""
    assert left_whole.process is not None
    everybody = [*left_whole.children, left_whole.process.pid]
    for one in everybody:
        os.kill(one, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        left_whole.process.wait(6)
    for one in everybody:
        os.kill(one, signal.SIGCONT)
    # Nothing was confirmed for six seconds: the first answer may be that.
    left_whole.until(lambda: left_whole.check() == 403)
    assert left_whole.children == everybody[:-1]
    assert not any("hangs" in str(one.get("message")) for one in left_whole.lines)


def test_children_end_when_the_supervisor_is_killed(served: Served) -> None:
    """Nothing would restart them, nor send them anything."""
    assert served.process is not None
    children = served.children
    served.process.kill()
    served.process.wait()
    served.until(lambda: not any(alive(one) for one in children))
    served.start()
    assert served.check() == 403


def alive(process: int) -> bool:
    """Whether a process runs: one that ended and has no parent to reap it does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_renewing_replaces_every_process_and_takes_the_new_settings(served: Served) -> None:
    """One more worker, and a second listener; nothing is to be mended, so the log has no warning."""
    before = served.children
    second = served.folder / "second.sock"
    served.write(3, f'[[listener]]\nname = "second"\naddress = "unix:{second}"\n')
    served.tell(signal.SIGHUP)
    served.until(lambda: "reloaded" in served.events)
    served.until(lambda: len(served.children) == 4)
    assert not set(before) & set(served.children)
    assert served.check(second) == 403
    served.write(1)
    served.tell(signal.SIGHUP)
    served.until(lambda: served.events.count("reloaded") == 2)
    served.until(lambda: len(served.children) == 2)
    assert not second.exists()
    assert served.check() == 403
    assert [line for line in served.lines if line["level"] != "info"] == []


@pytest.mark.parametrize(
    "more",
    [
        "nonsense",
        '[[listener]]\nname = "second"\naddress = "unix:/no/such/folder/s.sock"\n',
        '[crl]\nca_file = "/no/such/file.pem"\n',
        '[crl]\nfolder = "/proc/crls"\n',
        '[[listener]]\naddress = "127.0.0.1:0"\n[[listener.trusted_proxies]]\nanchors = "/"\nnames = ["x"]\n',
    ],
)
def test_settings_that_cannot_be_used_leave_those_of_before(left_whole: Served, more: str) -> None:
    """And every process; the log says why."""
    before = left_whole.children
    left_whole.write(3, more)
    left_whole.tell(signal.SIGHUP)
    left_whole.until(lambda: any("are not reloaded" in str(one.get("message")) for one in left_whole.lines))
    assert left_whole.children == before
    assert left_whole.check() == 403


TLS = (
    '[listener.tls]\ncertificate = "{0}/server.pem"\nkey = "{0}/server.key"\nclient_ca = "{0}/ca.pem"\nnames = ["p"]\n'
)


def test_listener_beyond_loopback_is_not_left_without_tls_by_renewing(apart: Served) -> None:
    """A socket that is open already is not more harmless than one that is to be opened."""
    write(apart.folder, "server", server())
    write(apart.folder, "ca", MESH)
    listener = '[[listener]]\nname = "far"\naddress = "0.0.0.0:0"\n'
    apart.write(1, listener + TLS.format(apart.folder))
    try:
        apart.start()
        before = apart.children
        apart.write(1, listener)
        apart.tell(signal.SIGHUP)
        apart.until(lambda: any("not loopback" in str(one.get("message")) for one in apart.lines))
        assert apart.children == before
        check = subprocess.run([*apart.command, "--check"], capture_output=True, text=True, check=False)
        assert check.returncode == 1
        assert "not loopback" in check.stderr
    finally:
        end(apart)


def test_listener_taken_out_and_put_back_while_all_are_replaced_answers(served: Served) -> None:
    """Its socket is still there, and no other process's."""
    second = served.folder / "second.sock"
    more = f'[[listener]]\nname = "second"\naddress = "unix:{second}"\n'
    served.write(2, more)
    served.tell(signal.SIGHUP)
    served.until(lambda: "reloaded" in served.events)
    for number, settings in enumerate(("", more), 2):
        served.write(2, settings)
        served.tell(signal.SIGHUP)
        served.until(lambda number=number: served.events.count("reloading") >= number)  # type: ignore[misc]
    served.until(lambda: served.events[-1] == "reloaded")
    assert served.check(second) == 403
    assert served.check() == 403


def test_second_change_whose_crl_manager_cannot_start_goes_back_to_before_the_first(served: Served) -> None:
    """Every process is of the first settings again; no socket of the others stays, and the next change is taken."""
    second, third = served.folder / "second.sock", served.folder / "third.sock"
    crls = served.folder / "third.crls"
    crls.mkdir()
    before = set(served.children)
    with (crls / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        served.write(2, f'[[listener]]\nname = "second"\naddress = "unix:{second}"\n')
        served.tell(signal.SIGHUP)
        served.until(second.exists)
        more = f'[[listener]]\nname = "third"\naddress = "unix:{third}"\n[crl]\nfolder = "{crls}"\n'
        served.write(2, more)
        served.tell(signal.SIGHUP)
        served.until(lambda: any("are not reloaded" in str(one.get("message")) for one in served.lines))
    served.until(lambda: set(served.metric("authz_process_ready").values()) == {1.0} and len(served.children) == 3)
    assert not second.exists()
    assert not third.exists()
    assert served.check() == 403
    served.write(2, more)
    served.tell(signal.SIGHUP)
    served.until(lambda: served.events[-1] == "reloaded")
    assert served.check(third) == 403
    assert not before & set(served.children)
    assert served.stop() == 0


def test_upgrade_without_a_crl_manager_waits_for_the_next(served: Served) -> None:
    """The holder of the folder keeps it from starting meanwhile; then all are handed over, and replaced."""
    assert served.process is not None
    before, folder = served.children, served.folder / "authz.crls"
    manager = next(one for one in before if "authz.crls" in opened_files(one))
    with (folder / ".lock").open("ab") as lock:
        waiting = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX))
        waiting.start()
        os.kill(manager, signal.SIGKILL)
        waiting.join()
        served.tell(signal.SIGUSR2)
        served.until(lambda: trying(served))
        served.until(lambda: not trying(served))
        tried = served.events.count("warning")
        served.until(lambda: served.events.count("warning") > tried)
        assert served.events.count("listening") == 2
    served.until(lambda: "reloaded" in served.events)
    assert served.events.count("listening") == 4
    assert len(served.children) == 3
    assert not set(before) & set(served.children)
    assert served.check() == 403
    assert served.stop() == 0


def trying(served: Served) -> bool:
    """Whether the version that is installed is being tried."""
    return any(b"--check" in command(one) for one in served.children)


def command(process: int) -> bytes:
    """How a process was started; nothing of one that ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def test_upgrade_with_an_address_that_is_taken_is_not_done(left_whole: Served) -> None:
    """It would end where the new version finds out."""
    before = left_whole.children
    taken = left_whole.folder / "taken.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(taken))
        other.listen()
        left_whole.write(2, f'[[listener]]\nname = "second"\naddress = "unix:{taken}"\n')
        left_whole.tell(signal.SIGUSR2)
        left_whole.until(lambda: any("this one stays" in str(one.get("message")) for one in left_whole.lines))
    assert left_whole.children == before
    assert left_whole.check() == 403


def test_upgrade_needs_a_directory_of_its_version(served: Served) -> None:
    """Until `authz db upgrade` has migrated it, the version that runs stays, and answers."""
    with closing(sqlite3.connect(served.folder / "authz.db")) as database:
        for version, event in (("0006", "warning"), (VERSION, "reloaded")):
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
            database.commit()
            served.tell(signal.SIGUSR2)
            served.until(lambda event=event: event in served.events)
            assert served.check() == 403
    assert any("authz db upgrade" in line for line in served.log.read_text().splitlines())


def test_upgrade_keeps_the_process_and_the_socket_and_replaces_the_rest(served: Served) -> None:
    """The supervisor becomes the program that is installed by now."""
    assert served.process is not None
    before, inode = served.children, served.socket.stat().st_ino
    served.tell(signal.SIGUSR2)
    served.until(lambda: "reloaded" in served.events)
    served.until(lambda: len(served.children) == 3)
    assert not set(before) & set(served.children)
    assert served.socket.stat().st_ino == inode
    assert served.check() == 403
    assert served.stop() == 0
    assert not served.socket.exists()


def test_version_that_does_not_start_is_not_changed_to(left_whole: Served) -> None:
    """What is installed is tried first; here the settings are what breaks it."""
    before = left_whole.children
    left_whole.write(2, "nonsense")
    left_whole.tell(signal.SIGUSR2)
    left_whole.until(lambda: any("does not start" in str(one.get("message")) for one in left_whole.lines))
    assert left_whole.children == before
    assert left_whole.check() == 403


def test_start_that_fails_is_reported_once_and_leaves_nothing(apart: Served) -> None:
    """A directory that is no database."""
    (apart.folder / "authz.db").write_bytes(b"nonsense" * 1000)
    done = subprocess.run(apart.command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "is no SQLite database" in done.stderr
    assert not apart.socket.exists()


def test_service_without_a_temporary_folder_says_what_it_is_for(apart: Served) -> None:
    """As in a container whose root is read-only."""
    code = "import sys, tempfile; tempfile.tempdir = '/proc'; from authz.cli import main; main()"
    command = [sys.executable, "-c", code, *apart.command[3:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "no temporary folder for the metrics" in done.stderr
    assert not apart.socket.exists()


def test_crl_manager_that_cannot_start_ends_the_service_with_its_sentence(apart: Served) -> None:
    """It is the child that fails; the command says why."""
    (apart.folder / "authz.crls").write_text("not a folder")
    done = subprocess.run(apart.command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "authz.crls" in done.stderr
    assert not apart.socket.exists()


def test_service_whose_socket_another_took_while_it_started_ends_with_the_reason(crew: Crew) -> None:
    """No client would reach it, and all would be well for the service manager."""
    path = crew.folder / "first.sock"
    path.unlink()
    with contextlib.closing(bind(f"unix:{path}")):
        crew.made._announced = False
        crew.turn()
    assert "has taken unix:" in str(crew.made._error)
    assert path.exists()


def test_crash_loop_ends_the_service_with_the_reason(served: Served) -> None:
    """Somebody else has the manager's folder from the moment at which the manager dies."""
    assert served.process is not None
    with (served.folder / "authz.crls" / ".lock").open("ab") as lock:
        waiting = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX))
        waiting.start()
        manager = next(one for one in served.children if "authz.crls" in opened_files(one))
        os.kill(manager, signal.SIGKILL)
        waiting.join()
        assert served.process.wait(PATIENCE) == 1
    said = served.log.read_text()
    assert "crl-manager started 10 times and never was ready" in said
    assert "authz.crls" in said.rpartition("never was ready")[2]
    assert not served.socket.exists()


def test_check_of_the_settings_says_whether_the_service_would_start(apart: Served) -> None:
    """And what was checked; it starts nothing, and no socket stays."""
    good = subprocess.run([*apart.command, "--check"], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    for checked in ("listener envoy", "folder of CRLs", "directory", "socket of ops", str(apart.socket)):
        assert checked in good.stdout
    assert not apart.socket.exists()
    apart.write(2, "nonsense")
    bad = subprocess.run([*apart.command, "--check"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "TOML" in bad.stderr


def test_option_wins_over_the_setting(apart: Served) -> None:
    """Also after the settings were read again."""
    apart_command = [*apart.command, "--workers", "1"]
    with apart.log.open("ab") as log:
        apart.process = subprocess.Popen(apart_command, stdout=log, stderr=log)
    try:
        apart.until(lambda: "ready" in apart.events)
        assert len(apart.children) == 2
        apart.tell(signal.SIGHUP)
        apart.until(lambda: "reloaded" in apart.events)
        apart.until(lambda: len(apart.children) == 2)
        assert apart.stop() == 0
    finally:
        end(apart)


def test_counters_are_summed_and_outlive_their_process(served: Served) -> None:
    """A worker that died takes no count with it, and leaves no gauge."""
    for _ in range(40):
        served.check()

    def counted() -> float:
        return sum(served.metric("authz_decisions_total").values())

    served.until(lambda: counted() == 40)
    for victim in served.children[1:]:
        os.kill(victim, signal.SIGKILL)
    served.until(lambda: served.metric("authz_directory_confirmed") == {"": 1.0})
    served.check()
    served.until(lambda: counted() == 41)


def images(process: int) -> set[int]:
    """The inodes of the sealed memory that a process has open, or mapped."""
    folder = Path(f"/proc/{process}/fd")
    return {one.stat().st_ino for one in folder.iterdir() if "memfd:authz-crl" in str(one.readlink())}


def test_index_of_a_large_crl_outlives_the_crl_manager(served: Served) -> None:
    """And is not made again by the next: the supervisor has it, and the next takes it from there."""
    assert served.process is not None
    now = datetime.now(UTC)
    ca = Authority.root("CA", not_before=now - timedelta(days=1), not_after=now + timedelta(days=9))
    (served.folder / "ca.pem").write_text(ca.pem)
    big = big_crl(ca, serials(3_000), now - timedelta(hours=1), now + timedelta(days=1))
    (served.folder / "big.crl").write_bytes(big)
    for line in ("org add acme --host x", "anchor add acme ca.pem", "crl add big.crl"):
        command = [sys.executable, "-m", "authz", "--config", str(served.config), *line.split()]
        subprocess.run(command, cwd=served.folder, check=True, capture_output=True)
    supervisor = served.process.pid
    served.until(lambda: len(images(supervisor)) == 1)
    made = images(supervisor)
    for number in (signal.SIGKILL, signal.SIGUSR2):
        manager = next(one for one in served.children if made <= images(one))
        if number == signal.SIGKILL:
            os.kill(manager, number)
        else:
            served.tell(number)
        served.until(lambda gone=manager: gone not in served.children and len(served.children) == 3)  # type: ignore[misc]
        served.until(lambda: set(served.metric("authz_process_ready").values()) == {1.0})
        served.until(lambda: any(made <= images(one) for one in served.children))
        assert images(supervisor) == made


def test_child_that_the_system_does_not_give_is_tried_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory, no descriptor, no process: the children that are there go on, and the log says what is lacking."""
    log = BytesIO()
    settings = parse_settings({"database": f"sqlite:///{tmp_path}/authz.db"}, origin="test")
    made = Supervisor(settings, lambda: settings, Telemetry(log))

    def fail() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fail)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number is enough
    assert made._start_worker(1.0) is None
    assert b"a worker cannot be started" in log.getvalue()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - likewise
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it was tried again at once"))
    assert made._start_worker(2.0) is None
    made._close()
