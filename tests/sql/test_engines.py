"""Every .sql file in three engines: Google's analyzer, its evaluator, and DuckDB by the façade's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.sql.cases import CASES
from tests.support.googlesql import Case, DuckDb, by_google, expected_rows, only, same_rows, sql_files


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDb]:
    engine = DuckDb(tmp_path_factory.mktemp("warehouse"))
    yield engine
    engine.close()


@pytest.mark.parametrize("name", sorted(sql_files()))
def test_every_sql_file_has_a_case(name: str) -> None:
    assert name in {case.sql for case in CASES}, f"tests/sql/cases.py has no case for {name}"


@pytest.mark.parametrize("name", sorted({case.sql for case in CASES}))
def test_every_case_is_of_a_sql_file(name: str) -> None:
    assert name in sql_files(), f"tests/sql/cases.py has cases for {name}, which does not exist"


def test_cases_of_a_file_have_names_of_their_own() -> None:
    counted = Counter((case.sql, case.name) for case in CASES)

    assert [key for key, number in counted.items() if number > 1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.sql}: {case.name}")
def test_engines_agree_on_a_case(case: Case, duckdb: DuckDb) -> None:
    google, duck = by_google(case), duckdb.answer(case)

    assert google.columns == duck.columns, f"{case.sql}: the engines give other columns"
    assert same_rows(google.rows, duck.rows), (
        f"{case.sql}: {case.name}:\nGoogle's evaluator: {google.rows}\nDuckDB: {duck.rows}"
    )


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.expected is not None], ids=lambda case: f"{case.sql}: {case.name}"
)
def test_answer_is_the_expected_one(case: Case, duckdb: DuckDb) -> None:
    answer = duckdb.answer(case)

    expected = expected_rows(case, answer)
    found = only(answer.rows, list(expected[0])) if expected else list(answer.rows)
    assert same_rows(found, expected), f"{case.sql}: {case.name}:\nfound: {found}\nexpected: {expected}"
