"""Who is calling: cached for a while, stale while the database is down, never from memory alone for long."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.auth import STALE_SECONDS, UNKNOWN_SECONDS, Authenticator, Caller, presented
from proxy.errors import ApiError
from tallygate import keys
from tallygate.appdb import Database, Document, faults
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock
from tallygate.tenants import ApiKey, get_key, issue_key, put_tenant, revoke_key
from tests.support.gateway import keys_only, tenant

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Desk:
    """An authenticator whose waiting time is set by hand and whose reads are counted."""

    path: Path
    database: Database
    key: str
    seconds: float = 1000.0
    loop: asyncio.AbstractEventLoop | None = None
    reads: list[str] = field(default_factory=list)
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOON))
    authenticator: Authenticator = field(init=False)

    def __post_init__(self) -> None:
        get: Callable[[str, str], Document | None] = self.database.get

        def counted(collection: str, document_id: str) -> Document | None:
            self.reads.append(collection)
            return get(collection, document_id)

        self.database.get = counted  # type: ignore[method-assign]
        self.authenticator = Authenticator(
            self.database,
            self.clock,
            identities=keys_only(),
            fresh_seconds=30,
            monotonic=lambda: self.seconds,
        )

    def ask(self, key: str | None = None) -> str:
        """The tenant, or the code of the refusal."""
        return asyncio.run(self._ask(key or self.key))

    def ask_quickly(self, key: str) -> str:
        """The same in the loop of before: 10,000 loops take longer than 10,000 keys."""
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(self._ask(key))

    async def _ask(self, key: str) -> str:
        try:
            return (await self.authenticator.authenticate({b"x-api-key": key.encode()})).tenant.tenant_id
        except ApiError as error:
            return error.code

    def outage(self) -> None:
        faults.arm(
            faults.faults_path(self.path), {"kind": "outage", "count": None, "rate": None, "match": {}}
        )

    def repair(self) -> None:
        faults.faults_path(self.path).unlink()

    def record(self) -> ApiKey:
        record = get_key(self.database, keys.key_hash(self.key))
        assert record is not None
        return record


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    path = tmp_path / "app.sqlite"
    database = SQLiteDatabase(path)
    put_tenant(database, tenant("acme"))
    desk = Desk(path, database, issue_key(database, "acme", label="test", now=NOON).secret)
    yield desk
    if desk.loop is not None:
        desk.loop.close()
    database.close()


def test_a_fresh_key_costs_no_read(desk: Desk) -> None:
    assert [desk.ask() for _ in range(5)] == ["acme"] * 5
    assert desk.reads == ["api_keys", "tenants"]


def test_a_random_key_costs_no_read(desk: Desk) -> None:
    assert desk.ask("tg_" + "x" * 44) == "invalid_key"
    assert desk.reads == []


def test_a_revoked_key_stops_working_within_the_cache_time(desk: Desk) -> None:
    desk.ask()
    revoke_key(desk.database, desk.record(), at=NOON)

    answers = []
    for desk.seconds in (1029.9, 1030.1):
        answers.append(desk.ask())

    assert answers == ["acme", "invalid_key"]


def test_an_unknown_key_is_remembered_for_a_short_while(desk: Desk) -> None:
    stranger = keys.mint().secret
    for _ in range(3):
        assert desk.ask(stranger) == "invalid_key"
    assert len(desk.reads) == 1

    desk.seconds += UNKNOWN_SECONDS + 1
    desk.ask(stranger)
    assert len(desk.reads) == 2


def test_with_the_database_down_cached_keys_work_for_a_quarter_of_an_hour(desk: Desk) -> None:
    desk.ask()
    desk.outage()

    answers = []
    for desk.seconds in (1100, 1000 + STALE_SECONDS - 1, 1000 + STALE_SECONDS + 1):
        answers.append(desk.ask())

    assert answers == ["acme", "acme", "database_unavailable"]


def test_with_the_database_down_a_key_that_is_not_cached_is_refused_for_now(desk: Desk) -> None:
    desk.outage()

    assert desk.ask() == "database_unavailable"
    desk.repair()
    desk.seconds += 2
    assert desk.ask() == "acme"


def test_a_database_that_is_down_is_not_asked_by_every_request(desk: Desk) -> None:
    desk.ask()
    desk.outage()
    desk.seconds += 100
    before = len(desk.reads)

    assert [desk.ask() for _ in range(5)] == ["acme"] * 5
    assert len(desk.reads) == before + 1


@pytest.mark.parametrize(
    ("collection", "field_name", "value"),
    [
        ("tenants", "rpm", "many"),
        ("tenants", "status", "sleeping"),
        ("tenants", "tenant_id", "X"),
        ("api_keys", "expires_at", "tomorrow"),
        ("api_keys", "tenant_id", None),
    ],
)
def test_a_record_that_cannot_be_understood_opens_nothing_and_harms_nobody_else(
    desk: Desk, collection: str, field_name: str, value: Any
) -> None:
    put_tenant(desk.database, tenant("other"))
    other = issue_key(desk.database, "other", label="test", now=NOON).secret
    document_id = "acme" if collection == "tenants" else keys.key_hash(desk.key)
    document = desk.database.get(collection, document_id)
    assert document is not None
    desk.database.put(collection, document_id, {**document, field_name: value})

    assert desk.ask() == "database_unavailable"
    assert desk.ask(other) == "other"


def test_requests_at_once_with_one_key_read_it_once(desk: Desk) -> None:
    async def at_once() -> list[Caller]:
        headers = {b"authorization": f"bearer {desk.key}".encode()}
        return await asyncio.gather(*(desk.authenticator.authenticate(headers) for _ in range(20)))

    callers = asyncio.run(at_once())

    assert {caller.tenant.tenant_id for caller in callers} == {"acme"}
    assert desk.reads == ["api_keys", "tenants"]


JWT = "eyJh.eyJp.c2ln"


@pytest.mark.parametrize(
    ("headers", "key", "token"),
    [
        ({"authorization": "Bearer a"}, "a", None),
        ({"authorization": "bearer  a "}, "a", None),
        ({"x-api-key": "b"}, "b", None),
        ({"authorization": "Bearer a", "x-api-key": "b"}, "a", None),
        ({"authorization": "Basic a", "x-api-key": "b"}, "b", None),
        ({"authorization": "Basic a"}, None, None),
        ({"authorization": "Bearer"}, None, None),
        ({}, None, None),
        ({"authorization": f"Bearer {JWT}"}, None, JWT),
        ({"authorization": f"Bearer {JWT}", "x-api-key": "b"}, "b", JWT),
        ({"authorization": "Bearer a", "x-serverless-authorization": f"Bearer {JWT}"}, "a", JWT),
        ({"authorization": f"Bearer {JWT}", "x-serverless-authorization": "Bearer x.y.z"}, None, "x.y.z"),
        ({"x-serverless-authorization": "Bearer nonsense"}, None, "nonsense"),
        ({"x-serverless-authorization": "Basic x.y.z"}, None, None),
    ],
)
def test_where_key_and_token_stand(headers: dict[str, str], key: str | None, token: str | None) -> None:
    raw = {name.encode(): value.encode() for name, value in headers.items()}

    assert presented(raw) == (key, token)


def test_ten_thousand_random_keys_cause_fewer_than_a_hundred_reads(desk: Desk) -> None:
    """Half of them random text, half one character away from a real key."""
    dice = random.Random(4)
    alphabet = string.ascii_letters + string.digits
    for number in range(10_000):
        if number % 2:
            body = "".join(dice.choices(alphabet, k=keys.KEY_LENGTH - len(keys.PREFIX)))
            guess = keys.PREFIX + body
        else:
            at = dice.randrange(len(keys.PREFIX), keys.KEY_LENGTH)
            other = dice.choice([c for c in alphabet if c != desk.key[at]])
            guess = desk.key[:at] + other + desk.key[at + 1 :]
        assert desk.ask_quickly(guess) == "invalid_key"

    assert len(desk.reads) < 100


def test_keys_with_a_right_checksum_that_do_not_exist_are_read_once_each(desk: Desk) -> None:
    strangers = [keys.mint().secret for _ in range(20)]
    for _ in range(5):
        assert {desk.ask(stranger) for stranger in strangers} == {"invalid_key"}

    assert len(desk.reads) == 20


@pytest.mark.parametrize("length", [2**20, keys.KEY_LENGTH])
def test_a_key_of_any_length_is_judged_without_an_error(desk: Desk, length: int) -> None:
    assert desk.ask(keys.PREFIX + "x" * (length - 3)) == "invalid_key"
    assert desk.ask("\xff" * 10) == "invalid_key"
    assert desk.reads == []


def test_a_key_that_expires_while_cached_stops_working_at_once(desk: Desk) -> None:
    short = issue_key(
        desk.database, "acme", label="short", now=NOON, expires_at=NOON + timedelta(seconds=10)
    ).secret
    assert desk.ask(short) == "acme"

    desk.clock.advance(seconds=10)

    assert desk.ask(short) == "invalid_key"


def test_a_rotation_has_two_valid_keys_until_the_old_one_is_revoked(desk: Desk) -> None:
    new = issue_key(desk.database, "acme", label="new", now=NOON).secret
    assert [desk.ask(desk.key), desk.ask(new)] == ["acme", "acme"]

    revoke_key(desk.database, desk.record(), at=NOON)
    desk.seconds += 31

    assert [desk.ask(desk.key), desk.ask(new)] == ["invalid_key", "acme"]
