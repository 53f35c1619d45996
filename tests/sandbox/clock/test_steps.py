"""The clock moves from effect to effect: against doubles and a function that are real HTTP servers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from sandbox.clock.__main__ import LONGEST_ADVANCE_SECONDS, clock_app
from sandbox.clock.jobs import Job
from sandbox.clock.steps import SandboxClock
from sandbox.layout import Layout
from sandbox.parts import Part, free_port
from sandbox.supervisor import Supervisor
from tallygate.appdb import DatabaseUnavailableError, open_database
from tallygate.clock import Clock, OffsetFileClock, SystemClock, parse_rfc3339, rfc3339, write_offset

START = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
SLACK = timedelta(seconds=25)
"""The machine's own time that a whole advance may take: the sandbox's time goes on with it."""
DAY = 86_400
Happening = tuple[str, datetime]


@dataclass(slots=True)
class Double:
    """Carries out effects when it is told to tick, and writes down when it did."""

    name: str
    clock: Clock
    happened: list[Happening]
    due: list[datetime] = field(default_factory=list)
    then: Callable[[datetime], list[datetime]] = lambda _: []
    """The effects that an effect causes."""
    ticks: int = 0
    broken: bool = False

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/_sandbox/next", self._next),
                Route("/_sandbox/tick", self._tick, methods=["POST"]),
            ]
        )

    async def _next(self, _: Request) -> Response:
        return JSONResponse({"at": rfc3339(min(self.due)) if self.due else None})

    async def _tick(self, _: Request) -> Response:
        if self.broken:
            return JSONResponse({}, status_code=500)
        self.ticks += 1
        now = self.clock.now()
        for at in sorted(at for at in self.due if at <= now):
            self.due.remove(at)
            self.happened.append((self.name, now))
            self.due += self.then(at)
        return JSONResponse({})


@dataclass(slots=True)
class Function:
    """Answers what it is given to answer, and writes down when it was called."""

    clock: Clock
    happened: list[Happening]
    answer: dict[str, Any] = field(default_factory=lambda: {"sealed": 0, "sent": 0})
    status: int = 200
    called: threading.Event = field(default_factory=threading.Event)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/", self._call, methods=["POST"])])

    async def _call(self, request: Request) -> Response:
        self.happened.append(((await request.json())["depth"], self.clock.now()))
        self.called.set()
        return JSONResponse(self.answer, status_code=self.status)


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The app on a free loopback port; connections wait in the socket's queue until it is up."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    socket.listen()
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        socket.close()
        assert not thread.is_alive()


@dataclass(slots=True)
class World:
    """A clock with two doubles and one function."""

    path: Path
    clock: Clock
    router: Double
    stripe: Double
    function: Function
    urls: list[str]
    function_url: str
    happened: list[Happening]
    _open: list[SandboxClock] = field(default_factory=list)

    def with_jobs(self, **crons: str) -> SandboxClock:
        jobs = [
            Job(name, "reporter", cron, {"depth": name}, self.clock.now()) for name, cron in crons.items()
        ]
        clock = SandboxClock(self.path, self.urls, {"reporter": self.function_url}, jobs)
        self._open.append(clock)
        return clock

    def close(self) -> None:
        for clock in self._open:
            clock.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "clock"
    write_offset(path, START - SystemClock().now())
    clock = OffsetFileClock(path)
    happened: list[Happening] = []
    router, stripe = (Double(name, clock, happened) for name in ("router", "stripe"))
    function = Function(clock, happened)
    with ExitStack() as stack:
        urls = [stack.enter_context(served(double.app())) for double in (router, stripe)]
        function_url = stack.enter_context(served(function.app()))
        world = World(path, clock, router, stripe, function, urls, function_url, happened)
        stack.callback(world.close)
        yield world


def after(**offset: float) -> datetime:
    return START + timedelta(**offset)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}Z")


def assert_happened(world: World, *expected: Happening) -> None:
    """These and no others, in this order, each at its time or, as the machine is slow, soon after."""
    assert [name for name, _ in world.happened] == [name for name, _ in expected]
    for (name, when), (_, due) in zip(world.happened, expected, strict=True):
        assert due <= when < due + SLACK, f"{name} due at {due} happened at {when}"


def test_an_advance_without_anything_due_ends_at_its_target(world: World) -> None:
    now = world.with_jobs().advance(30 * DAY)
    assert after(days=30) <= now < after(days=30) + SLACK
    assert after(days=30) <= world.clock.now()
    assert world.happened == []


def test_every_effect_of_all_doubles_happens_at_its_own_time_and_in_order(world: World) -> None:
    world.router.due = [after(hours=1), after(days=9)]
    world.stripe.due = [after(hours=2), after(minutes=30), after(days=40)]
    world.with_jobs().advance(10 * DAY)
    assert_happened(
        world,
        ("stripe", after(minutes=30)),
        ("router", after(hours=1)),
        ("stripe", after(hours=2)),
        ("router", after(days=9)),
    )
    assert world.stripe.due == [after(days=40)]


def test_an_effect_at_the_target_itself_happens(world: World) -> None:
    now = world.clock.now() + timedelta(hours=1)
    world.stripe.due = [now]
    world.with_jobs().advance(3600)
    assert_happened(world, ("stripe", now))


def test_an_effect_that_an_effect_causes_happens_in_the_same_advance(world: World) -> None:
    world.stripe.due = [after(hours=1)]
    world.stripe.then = lambda when: [when + timedelta(hours=1)] if when < after(hours=3) else []
    world.with_jobs().advance(DAY)
    assert_happened(world, *(("stripe", after(hours=hour)) for hour in (1, 2, 3)))


def test_what_is_overdue_happens_now_and_time_never_goes_backward(world: World) -> None:
    world.router.due = [after(hours=-5)]
    world.router.then = lambda when: [after(hours=-4)] if when < after(hours=-4) else []
    now = world.with_jobs().advance(0)
    assert_happened(world, ("router", START), ("router", START))
    assert START <= world.happened[0][1] <= world.happened[1][1] <= now < START + SLACK


def test_all_doubles_tick_even_when_only_one_has_an_effect(world: World) -> None:
    world.router.due = [after(hours=1)]
    world.with_jobs().advance(2 * 3600)
    assert world.router.ticks == world.stripe.ticks == 3  # at once, at the effect, at the target


def test_a_job_that_finds_work_runs_at_each_of_its_times(world: World) -> None:
    world.function.answer = {"sealed": 1}
    world.with_jobs(recent="*/5 * * * *").advance(3600)
    assert_happened(world, *(("recent", at("03-01 00:05:00") + timedelta(minutes=5 * n)) for n in range(12)))


def test_a_job_that_fails_is_tried_at_each_of_its_times(world: World) -> None:
    world.function.status = 500
    world.with_jobs(hourly="7 * * * *").advance(4 * 3600)
    assert_happened(world, *(("hourly", at(f"03-01 0{hour}:07:00")) for hour in range(4)))


def test_a_job_that_finds_nothing_runs_only_at_its_last_time_before_the_next_effect(world: World) -> None:
    world.stripe.due = [at("03-01 06:02:00")]
    world.with_jobs(recent="*/5 * * * *").advance(DAY)
    assert_happened(
        world,
        ("recent", at("03-01 00:05:00")),
        ("recent", at("03-01 06:00:00")),
        ("stripe", at("03-01 06:02:00")),
        ("recent", at("03-01 06:05:00")),
        ("recent", at("03-02 00:00:00")),
    )


def test_a_quiet_job_due_just_after_an_effect_does_not_run_at_the_effect(world: World) -> None:
    world.stripe.due = [at("03-01 06:04:59.500")]
    world.with_jobs(recent="*/5 * * * *").advance(7 * 3600)
    assert_happened(
        world,
        ("recent", at("03-01 00:05:00")),
        ("recent", at("03-01 06:00:00")),
        ("stripe", at("03-01 06:04:59.500")),
        ("recent", at("03-01 06:05:00")),
        ("recent", at("03-01 07:00:00")),
    )


def test_an_effect_comes_before_the_job_of_the_same_moment(world: World) -> None:
    world.router.due = [at("03-01 00:05:00")]
    world.with_jobs(recent="*/5 * * * *").advance(400)
    assert_happened(world, ("router", at("03-01 00:05:00")), ("recent", at("03-01 00:05:00")))


def test_a_new_advance_runs_a_quiet_job_again_as_traffic_may_have_come(world: World) -> None:
    clock = world.with_jobs(recent="*/5 * * * *")
    clock.advance(600)
    assert_happened(world, ("recent", at("03-01 00:05:00")), ("recent", at("03-01 00:10:00")))
    world.happened.clear()
    clock.advance(1800)
    assert_happened(world, ("recent", at("03-01 00:15:00")), ("recent", at("03-01 00:40:00")))


def test_keeping_up_runs_what_is_due_and_nothing_twice(world: World) -> None:
    clock = world.with_jobs(recent="*/5 * * * *", daily="37 3 * * *")
    clock.keep_up()
    assert world.happened == []
    write_offset(world.path, at("03-01 00:17:00") - SystemClock().now())
    clock.keep_up()
    clock.keep_up()
    assert_happened(world, ("recent", at("03-01 00:17:00")))


def test_a_double_that_fails_stops_the_clock_where_it_failed(world: World) -> None:
    world.router.due = [after(hours=1)]

    def break_stripe(_: datetime) -> list[datetime]:
        world.stripe.broken = True
        return [after(hours=2)]

    world.router.then = break_stripe
    clock = world.with_jobs()
    with pytest.raises(httpx.HTTPStatusError):
        clock.advance(DAY)
    assert after(hours=1) <= world.clock.now() < after(hours=1) + SLACK
    world.stripe.broken = False
    world.router.then = lambda _: []
    clock.advance(DAY)
    assert_happened(world, ("router", after(hours=1)), ("router", after(hours=2)))


@pytest.fixture
def browser(world: World, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(clock_app(world.with_jobs(), tmp_path / "app.sqlite", scheduler=False)) as client:
        yield client


@pytest.fixture
def lone_browser(tmp_path: Path) -> Iterator[TestClient]:
    """Of a clock without doubles."""
    path = tmp_path / "clock"
    write_offset(path, START - SystemClock().now())
    clock = SandboxClock(path, [], {}, [])
    with TestClient(clock_app(clock, tmp_path / "app.sqlite", scheduler=False)) as client:
        yield client


def test_the_clock_is_advanced_and_read_over_http(world: World, browser: TestClient) -> None:
    world.stripe.due = [after(hours=1)]
    answer = browser.post("/_sandbox/clock", json={"advance_seconds": 7200.5})
    assert answer.status_code == 200
    assert after(seconds=7200.5) <= parse_rfc3339(answer.json()["now"]) <= world.clock.now()
    assert_happened(world, ("stripe", after(hours=1)))
    for path in ("/_sandbox/clock", "/_sandbox/health"):
        assert parse_rfc3339(browser.get(path).json()["now"]) >= after(seconds=7200.5)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"advance_seconds": "60"}',
        '{"advance_seconds": true}',
        '{"advance_seconds": null}',
        '{"advance_seconds": -1}',
        '{"advance_seconds": NaN}',
        '{"advance_seconds": 1e999}',
        f'{{"advance_seconds": 1{"0" * 400}}}',
        f'{{"advance_seconds": {LONGEST_ADVANCE_SECONDS + 1}}}',
    ],
)
def test_an_advance_that_makes_no_sense_is_refused_and_moves_nothing(
    lone_browser: TestClient, body: str
) -> None:
    answer = lone_browser.post("/_sandbox/clock", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert parse_rfc3339(lone_browser.get("/_sandbox/clock").json()["now"]) < START + SLACK


def test_a_double_that_does_not_keep_up_is_told_over_http(world: World, browser: TestClient) -> None:
    world.stripe.broken = True
    answer = browser.post("/_sandbox/clock", json={"advance_seconds": DAY})
    assert answer.status_code == 503
    assert "did not keep up" in answer.json()["error"]
    assert world.clock.now() < START + SLACK


def test_faults_of_the_app_database_are_armed_listed_and_cleared_over_http(
    lone_browser: TestClient, tmp_path: Path
) -> None:
    database = open_database(f"sqlite:{tmp_path / 'app.sqlite'}", project_id="sandbox")
    fault = {"kind": "outage", "count": 1, "match": {"collection": "tenants"}}
    fault_id = lone_browser.post("/_sandbox/faults", json=fault).json()["fault_id"]
    assert database.get("spend", "t1") is None
    with pytest.raises(DatabaseUnavailableError):
        database.get("tenants", "t1")
    assert database.get("tenants", "t1") is None
    (listed,) = lone_browser.get("/_sandbox/faults").json()["faults"]
    assert (listed["fault_id"], listed["kind"], listed["injected"]) == (fault_id, "outage", 1)
    lone_browser.post("/_sandbox/faults", json={"kind": "outage", "rate": 1})
    assert lone_browser.delete("/_sandbox/faults").json() == {}
    assert lone_browser.get("/_sandbox/faults").json() == {"faults": []}
    assert database.get("tenants", "t1") is None
    database.close()


@pytest.mark.parametrize(
    "body", ["", "[]", '"outage"', '{"kind": "flood", "count": 1}', '{"kind": "outage"}']
)
def test_a_fault_that_makes_no_sense_is_refused(lone_browser: TestClient, body: str) -> None:
    assert lone_browser.post("/_sandbox/faults", content=body).status_code == 400
    assert lone_browser.get("/_sandbox/faults").json() == {"faults": []}


def test_the_scheduler_runs_jobs_that_real_time_made_due(world: World, tmp_path: Path) -> None:
    clock = world.with_jobs(recent="*/5 * * * *")
    write_offset(world.path, at("03-01 00:06:00") - SystemClock().now())
    with TestClient(clock_app(clock, tmp_path / "app.sqlite", scheduler=True)):
        assert world.function.called.wait(20)
    assert_happened(world, ("recent", at("03-01 00:06:00")))


def test_the_clock_s_own_process_runs_the_declared_jobs(world: World, tmp_path: Path) -> None:
    world.function.answer = {"sealed": 0}
    router, stripe = world.urls
    port = free_port()
    command = (
        sys.executable, "-m", "sandbox.clock", "--port", str(port), "--clock", f"file:{world.path}",
        "--state", str(tmp_path / "state"), "--stripe", stripe, "--router", router,
        "--app-database", str(tmp_path / "app.sqlite"), "--function", f"usage_reporter={world.function_url}",
        "--function", f"stripe_sync={world.function_url}",
        "--function", f"usage_reconciler={world.function_url}",
    )  # fmt: skip
    part = Part("clock", port, command, "/_sandbox/health")
    supervisor = Supervisor(Layout(tmp_path))
    supervisor.start(part)
    try:
        supervisor.wait_ready(part)
        answer = httpx.post(
            f"{part.url}/_sandbox/clock", json={"advance_seconds": DAY}, timeout=60, trust_env=False
        )
    finally:
        supervisor.stop()
    assert parse_rfc3339(answer.json()["now"]) >= after(days=1)
    assert {name for name, _ in world.happened} == {"recent", "hourly", "daily"}
    reporter, sync, reconciler = [when for name, when in world.happened if name == "daily"]
    assert at("03-01 03:37:00") <= reporter < at("03-01 03:37:00") + SLACK
    assert at("03-01 04:17:00") <= sync < at("03-01 04:17:00") + SLACK
    assert at("03-01 04:57:00") <= reconciler < at("03-01 04:57:00") + SLACK
