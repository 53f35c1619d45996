"""A façade that is killed goes on where it stood."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from sandbox.parts import free_port
from tests.sandbox.bigquery.facade import PROJECT, client_of, in_its_own_process, kill, schema

TABLE = f"{PROJECT}.d.t"
INSERT = "INSERT INTO `d.t` (n) SELECT COALESCE(MAX(n), 0) + 1 FROM `d.t` AS u"


class Killable:
    """A façade's place on this machine, across its lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = client_of(self.url)

    def life(self) -> Any:
        return in_its_own_process(self.folder / "state", self.port)

    def numbers(self) -> list[int]:
        return [row["n"] for row in self.client.query_and_wait("SELECT n FROM `d.t` AS t ORDER BY n")]


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[Killable]:
    place = Killable(tmp_path)
    yield place
    place.client.close()


def make(client: bigquery.Client) -> None:
    client.create_dataset("d")
    client.create_table(bigquery.Table(TABLE, schema=schema("n INT64", "s STRING")))


def test_nothing_that_was_confirmed_is_lost_by_kill_9(killable: Killable) -> None:
    with killable.life() as process:
        make(killable.client)
        view = bigquery.Table(f"{PROJECT}.d.v")
        view.view_query = "SELECT n FROM `d.t` AS t"
        killable.client.create_table(view)
        table = killable.client.get_table(TABLE)
        table.schema = [*table.schema, *schema("later STRING")]
        killable.client.update_table(table, ["schema"])
        assert killable.client.insert_rows_json(TABLE, [{"n": 1, "later": "x"}]) == []
        killable.client.query(INSERT, job_id="one", job_retry=None).result()
        kill(process)

    with killable.life():
        columns = [field.name for field in killable.client.get_table(TABLE).schema]
        job = killable.client.get_job("one")
        with pytest.raises(exceptions.Conflict):
            killable.client.query(INSERT, job_id="one", job_retry=None)
        seen = [row["n"] for row in killable.client.query_and_wait("SELECT n FROM `d.v` AS v ORDER BY n")]

    assert columns == ["n", "s", "later"]
    assert (job.state, job.num_dml_affected_rows) == ("DONE", 1)
    assert seen == [1, 2]


def test_a_job_that_ran_when_it_was_killed_is_done_once(killable: Killable) -> None:
    with killable.life() as process:
        make(killable.client)
        fault = {"kind": "job_continues_after_client_dies", "count": 1, "seconds": 30}
        httpx.post(f"{killable.url}/_sandbox/faults", json=fault, trust_env=False).raise_for_status()
        running = killable.client.query(INSERT, job_id="one", job_retry=None)
        assert running.state == "RUNNING"
        kill(process)

    with killable.life():
        job = killable.client.get_job("one")
        job.result()
        assert (job.num_dml_affected_rows, killable.numbers()) == (1, [1])


def test_the_result_of_a_query_outlives_the_process(killable: Killable) -> None:
    with killable.life() as process:
        make(killable.client)
        assert killable.client.insert_rows_json(TABLE, [{"n": n} for n in range(1500)]) == []
        sql = "SELECT n FROM `d.t` AS t ORDER BY n"
        killable.client.query(sql, job_id="read", job_retry=None).result()
        kill(process)

    with killable.life():
        rows = killable.client.get_job("read").result(page_size=400)
        assert [row["n"] for row in rows] == list(range(1500))


def test_late_rows_outlive_the_process(killable: Killable) -> None:
    with killable.life() as process:
        make(killable.client)
        fault = {"kind": "late_visibility", "count": 1, "seconds": 0.001}
        httpx.post(f"{killable.url}/_sandbox/faults", json=fault, trust_env=False).raise_for_status()
        assert killable.client.insert_rows_json(TABLE, [{"n": 7}]) == []
        kill(process)

    with killable.life():
        assert killable.numbers() == [7]


@pytest.mark.parametrize("confirmed_first", [1, 6])
def test_kill_9_under_load_keeps_what_was_confirmed_and_doubles_nothing(
    killable: Killable, confirmed_first: int
) -> None:
    """Rows are written by three clients at once; each batch of three is there whole or not at all."""
    confirmed: set[int] = set()
    enough = threading.Event()

    def write(writer: int) -> None:
        client = client_of(killable.url)
        try:
            for batch in range(1000):
                first = (writer * 1000 + batch) * 3
                rows = [{"n": first + i} for i in range(3)]
                if client.insert_rows_json(TABLE, rows, row_ids=[None] * 3, retry=None, timeout=20):
                    return
                confirmed.update(row["n"] for row in rows)
                if len(confirmed) >= confirmed_first * 3:
                    enough.set()
        except (exceptions.GoogleAPICallError, OSError):
            return
        finally:
            client.close()

    with killable.life() as process:
        make(killable.client)
        writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for writer in writers:
            writer.start()
        assert enough.wait(60), "the writers did not come to it"
        kill(process)
        for writer in writers:
            writer.join(60)

    with killable.life():
        found = killable.numbers()

    assert len(found) == len(set(found))
    assert confirmed <= set(found)
    assert {n // 3 for n in found} == {n // 3 for n in found if n % 3 == 2}
    assert len(found) % 3 == 0
