"""Many clients at once."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from google.api_core import exceptions

from tests.sandbox.bigquery.facade import Facade, column, scalar, schema

CLIENTS = 8


def together(work: object, times: int = CLIENTS) -> list[object]:
    """What ``work(number)`` gives in threads at once."""
    assert callable(work)
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(work, range(times)))


def test_rows_of_many_writers_are_all_there(facade: Facade) -> None:
    facade.table("t", "n INT64")

    together(lambda number: facade.add("t", *({"n": number * 10 + i} for i in range(10))), 24)

    assert column(facade.query("SELECT n FROM `{d}.t` AS t ORDER BY n"), "n") == list(range(240))


def test_updates_follow_one_another(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.add("t", {"n": 0})

    affected = together(lambda _: facade.change("UPDATE `{d}.t` AS t SET n = t.n + 1 WHERE TRUE"), 16)

    assert affected == [1] * 16
    assert facade.query("SELECT n FROM `{d}.t` AS t") == [{"n": 16}]


def test_one_of_many_gets_a_job_id(facade: Facade) -> None:
    facade.table("t", "n INT64")
    wanted = f"race-{uuid.uuid4().hex}"

    def race(number: int) -> bool:
        try:
            facade.start(
                "INSERT INTO `{d}.t` (n) VALUES (@n)",
                scalar("n", "INT64", number),
                job_id=wanted,
                job_retry=None,
            ).result()
        except exceptions.Conflict:
            return False
        return True

    won = together(race)

    assert won.count(True) == 1
    assert column(facade.query("SELECT n FROM `{d}.t` AS t"), "n") == [won.index(True)]


def test_one_of_many_makes_a_table(facade: Facade) -> None:
    def make(_: int) -> bool:
        try:
            facade.table("t", "n INT64")
        except exceptions.Conflict:
            return False
        return True

    assert together(make).count(True) == 1
    facade.add("t", {"n": 1})


def test_readers_see_whole_statements(facade: Facade) -> None:
    """Two rows change together; no reader may see them differ."""
    facade.table("t", "n INT64", "id INT64")
    facade.add("t", {"n": 0, "id": 1}, {"n": 0, "id": 2})

    def work(number: int) -> bool:
        if number % 2:
            facade.change("UPDATE `{d}.t` AS t SET n = t.n + 1 WHERE TRUE")
            return True
        (row,) = facade.query("SELECT MIN(n) AS low, MAX(n) AS high FROM `{d}.t` AS t")
        return bool(row["low"] == row["high"])

    assert all(together(work, 24))


def test_a_schema_widens_while_rows_come(facade: Facade) -> None:
    """As the router does it: rows with the old columns and with the new ones, from several at once."""
    facade.table("t", "n INT64")

    def work(number: int) -> None:
        if number == 4:
            table = facade.client.get_table(facade.path("t"))
            table.schema = schema("n INT64", "late STRING")
            facade.client.update_table(table, ["schema"])
        else:
            facade.add("t", {"n": number})

    together(work, 16)
    facade.add("t", {"n": 4, "late": "x"})

    assert column(facade.query("SELECT n FROM `{d}.t` AS t ORDER BY n"), "n") == list(range(16))
