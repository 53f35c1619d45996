"""The supervisor with parts that are real processes, and the file that describes a sandbox."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from sandbox.layout import Layout
from sandbox.parts import Part, free_port
from sandbox.state import SCHEMA_VERSION, NotRunningError, read_state, write_state
from sandbox.supervisor import Held, SandboxError, Supervisor, answers, clear

PATIENCE_SECONDS = 30
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ok" else 404)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("serving", flush=True)
"""
SERVE = SERVER + "server.serve_forever()"
SERVE_FROM_A_WORKER = SERVER + "os.fork() and os.waitpid(-1, 0)\nserver.serve_forever()"
SERVE_DEAF_TO_TERM = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE
NOT_HTTP = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b"220 mail.example ESMTP\\r\\n")
    connection.close()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "sandbox")


@pytest.fixture
def supervisor(layout: Layout) -> Iterator[Supervisor]:
    supervisor = Supervisor(layout)
    yield supervisor
    supervisor.stop()


def a_part(name: str = "web", script: str = SERVE, **changes: object) -> Part:
    port = free_port()
    fields: dict[str, object] = {
        "name": name,
        "port": port,
        "command": (sys.executable, "-c", script, str(port)),
        "health": "/ok",
    }
    return Part(**(fields | changes))  # type: ignore[arg-type] # the fields of one dataclass, by name


def started(supervisor: Supervisor, *parts: Part) -> None:
    for part in parts:
        supervisor.start(part)
    supervisor.wait_ready(*parts)


def server_pid(part: Part) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{part.url}/ok", timeout=5) as response:
        return int(response.read())


def listens(part: Part) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", part.port)) == 0


def within_patience(condition: Callable[[], bool]) -> Callable[[], bool]:
    """The condition, or that it is hopeless by now: the assertions that follow say what was missing."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    return lambda: condition() or time.monotonic() > deadline


def test_a_part_answers_once_it_is_ready_and_its_pid_is_known(supervisor: Supervisor) -> None:
    part = a_part()
    assert not answers(part)
    started(supervisor, part)
    assert answers(part)
    assert supervisor.pids == {"web": server_pid(part)}


def test_a_part_may_answer_its_health_path_with_another_status(supervisor: Supervisor) -> None:
    part = a_part(health="/missing", health_status=404)
    started(supervisor, part)
    assert answers(part)
    assert not answers(Part("web", part.port, (), "/missing"))


def test_parts_are_asked_directly_whatever_proxy_the_environment_names(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the environment of its first use
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    part = a_part()
    started(supervisor, part)
    assert answers(part)


def test_a_part_that_does_not_speak_http_does_not_answer(supervisor: Supervisor) -> None:
    part = a_part(script=NOT_HTTP)
    supervisor.start(part)
    supervisor.watch(within_patience(lambda: listens(part)))
    assert listens(part)
    assert not answers(part)


def test_a_killed_part_comes_back_on_its_port_and_is_told_of(supervisor: Supervisor) -> None:
    part, other = a_part("web"), a_part("other")
    started(supervisor, part, other)
    before = supervisor.pids
    told: list[Mapping[str, int]] = []
    supervisor.on_change = lambda pids: told.append(dict(pids))
    os.kill(before["web"], signal.SIGKILL)
    supervisor.watch(within_patience(lambda: bool(told) and answers(part)))
    assert told == [supervisor.pids]
    assert supervisor.pids["web"] == server_pid(part) != before["web"]
    assert supervisor.pids["other"] == server_pid(other) == before["other"]


def test_a_part_whose_main_process_alone_was_killed_gets_its_port_back(supervisor: Supervisor) -> None:
    part = a_part(script=SERVE_FROM_A_WORKER)
    started(supervisor, part)
    main, worker = supervisor.pids["web"], server_pid(part)
    assert main != worker
    os.kill(main, signal.SIGKILL)
    supervisor.watch(within_patience(lambda: supervisor.pids["web"] != main and answers(part)))
    assert server_pid(part) not in (main, worker)
    assert os.getpgid(server_pid(part)) == supervisor.pids["web"]


def test_stop_ends_all_parts_and_their_workers(supervisor: Supervisor) -> None:
    parts = [a_part("web"), a_part("workers", SERVE_FROM_A_WORKER)]
    started(supervisor, *parts)
    supervisor.stop()
    assert supervisor.pids == {}
    supervisor.watch(within_patience(lambda: not any(listens(part) for part in parts)))
    assert not any(listens(part) for part in parts)
    supervisor.stop()


def test_stop_ends_the_workers_of_a_main_process_that_is_gone(supervisor: Supervisor) -> None:
    part = a_part(script=SERVE_FROM_A_WORKER)
    started(supervisor, part)
    os.kill(supervisor.pids["web"], signal.SIGKILL)
    os.waitid(os.P_PID, supervisor.pids["web"], os.WEXITED | os.WNOWAIT)
    supervisor.stop()
    supervisor.watch(within_patience(lambda: not listens(part)))
    assert not listens(part)


def test_stop_kills_a_part_that_does_not_end_within_its_grace(supervisor: Supervisor) -> None:
    part = a_part(script=SERVE_DEAF_TO_TERM, grace_seconds=0.3)
    started(supervisor, part)
    supervisor.stop()
    assert not listens(part)


def test_a_part_that_ends_while_starting_is_named_with_its_last_words(supervisor: Supervisor) -> None:
    part = a_part(script="raise SystemExit('no such table: tenants')")
    supervisor.start(part)
    with pytest.raises(SandboxError, match=r"web ended while starting:\nno such table: tenants"):
        supervisor.wait_ready(part)


def test_a_part_that_is_not_ready_in_time_is_named_with_its_log(
    supervisor: Supervisor, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.supervisor.START_TIMEOUT_SECONDS", 0.5)
    part = a_part(health="/never")
    supervisor.start(part)
    with pytest.raises(SandboxError, match=r"web is not ready after 0\.5 s.*parts/web\.log"):
        supervisor.wait_ready(part)


def test_each_start_of_a_part_that_keeps_its_output_has_files_of_its_own(
    supervisor: Supervisor, layout: Layout
) -> None:
    part = a_part("proxy-0", keeps_output=True)
    started(supervisor, part)
    before = supervisor.pids["proxy-0"]
    os.kill(before, signal.SIGKILL)
    supervisor.watch(within_patience(lambda: supervisor.pids["proxy-0"] != before and answers(part)))
    names = {f"proxy-0.{start}.{stream}.log" for start in (1, 2) for stream in ("stdout", "stderr")}
    assert {path.name for path in layout.logs.iterdir()} == names
    for start in (1, 2):
        assert (layout.logs / f"proxy-0.{start}.stdout.log").read_text() == "serving\n"


def test_the_output_of_other_parts_is_one_file_over_all_starts(
    supervisor: Supervisor, layout: Layout
) -> None:
    part = a_part()
    started(supervisor, part)
    before = supervisor.pids["web"]
    os.kill(before, signal.SIGKILL)
    supervisor.watch(within_patience(lambda: supervisor.pids["web"] != before and answers(part)))
    assert (layout.part_logs / "web.log").read_text().count("serving\n") == 2


def test_a_part_sees_nothing_of_the_caller_s_environment_but_what_it_is_given(
    supervisor: Supervisor, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_of_the_caller")
    script = "import json, os; print(json.dumps(dict(os.environ)), flush=True)\n" + SERVE
    started(supervisor, a_part(script=script, environment={"K_SERVICE": "web"}))
    seen = json.loads((layout.part_logs / "web.log").read_text().splitlines()[0])
    assert seen["K_SERVICE"] == "web"
    assert "STRIPE_API_KEY" not in seen
    assert "sk_live_of_the_caller" not in seen.values()


def test_a_folder_is_held_by_one_sandbox_at_a_time(layout: Layout) -> None:
    held = Held(layout)
    with pytest.raises(SandboxError, match=r"runs in .* already"):
        Held(layout)
    held.close()
    Held(layout).close()


def test_clearing_keeps_the_lock_and_the_reports(layout: Layout) -> None:
    held = Held(layout)
    layout.of("stripe").mkdir(parents=True)
    (layout.of("stripe") / "db").touch()
    for name in ("state.json", "demo.json", "bench.json"):
        (layout.root / name).touch()
    clear(layout)
    assert {path.name for path in layout.root.iterdir()} == {"lock", "demo.json", "bench.json"}
    held.close()


def test_the_state_is_read_as_written_and_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    before = os.umask(0)
    try:
        write_state(path, {"proxy_url": "http://127.0.0.1:1"})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_state(path) == {"schema_version": SCHEMA_VERSION, "proxy_url": "http://127.0.0.1:1"}


def test_a_scratch_file_left_behind_does_not_open_the_state_to_others(tmp_path: Path) -> None:
    path, scratch = tmp_path / "state.json", tmp_path / "state.json.new"
    scratch.write_text("half")
    scratch.chmod(0o644)
    write_state(path, {"a": 1})
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_state_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_state(path, {"tenants": ["a" * 1000]})
    with path.open() as reader:
        write_state(path, {"tenants": []})
        assert json.load(reader)["tenants"] == ["a" * 1000]
    assert read_state(path)["tenants"] == []


def test_a_state_that_is_missing_says_how_to_start_a_sandbox(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="make sandbox"):
        read_state(tmp_path / "state.json")
