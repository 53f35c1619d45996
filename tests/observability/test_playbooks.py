"""Playbooks are pages to work from: every query in them can be pasted and asks for things that exist."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from sandbox.lql import parse as parse_filter
from sandbox.warehouse import LEDGER
from tallygate.secrets import STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET
from tests.observability import emitted, lines
from tests.observability.conftest import Planned
from tests.observability.places import MODULE, PLAYBOOKS, SERVICE, jobs
from tests.observability.promql import selectors
from tests.observability.scenes import PREFIX
from tests.observability.test_metrics import COMING
from tests.support.googlesql import DuckDb, sql_files

PARTS: Final = [
    "Meaning", "Impact", "First five minutes", "Causes seen", "False alarms", "Escalate",
]  # fmt: skip
LANGUAGES: Final = {"lql", "sql", "promql", "sh"}
PAGES: Final = sorted(path.stem for path in PLAYBOOKS.glob("*.md"))


@dataclass(frozen=True, slots=True)
class Query:
    """A block of a page."""

    page: str
    language: str
    text: str


def queries() -> Iterator[Query]:
    """All blocks of all pages."""
    for page in PAGES:
        content = (PLAYBOOKS / f"{page}.md").read_text()
        for language, text in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", content, re.DOTALL | re.MULTILINE):
            yield Query(page, language, textwrap.dedent(text).strip())


def of(language: str) -> list[Any]:
    """The blocks in one language, as parameters of a test."""
    found = [query for query in queries() if query.language == language]
    return [pytest.param(query, id=f"{query.page}-{number}") for number, query in enumerate(found)]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_parts_in_order_and_none_is_empty(page: str) -> None:
    content = (PLAYBOOKS / f"{page}.md").read_text()
    parts = re.split(r"^## (.+)$", content, flags=re.MULTILINE)

    assert parts[0].strip() == f"# {page}"
    assert parts[1::2] == PARTS
    assert all(text.strip() for text in parts[2::2])
    assert "```" in parts[6], "the first five minutes need something to paste"
    assert {query.language for query in queries() if query.page == page} <= LANGUAGES


@pytest.mark.parametrize("query", of("lql"))
def test_a_filter_is_understood_and_asks_for_lines_that_are_written(query: Query) -> None:
    parse_filter(query.text)

    known = emitted.event_names().keys() | COMING.keys()
    assert values(query.text, "event") <= known
    assert values(query.text, "error_type") <= emitted.error_types()
    assert values(query.text, "job") <= lines.SERVICES.keys()


def values(text: str, field: str) -> set[str]:
    """What a filter asks of a field of the payload."""
    found: set[str] = set()
    for one, group in re.findall(rf'jsonPayload\.{field}=(?:"(\w+)"|\(([^)]*)\))', text):
        found |= {one} if one else set(re.findall(r'"(\w+)"', group))
    return found


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDb]:
    """An empty warehouse with all its views."""
    engine = DuckDb(tmp_path_factory.mktemp("warehouse"))
    waiting = [file for file in sql_files().values() if file.view]
    while waiting:  # a view is made after those that it reads
        names = {file.path.stem for file in waiting}
        ready = [f for f in waiting if not any(f"`{LEDGER}.{name}`" in f.text for name in names)]
        assert ready, f"these views read each other: {names}"
        for file in ready:
            engine.warehouse.create_table(LEDGER, file.path.stem, {"view": {"query": file.text}})
        waiting = [file for file in waiting if file not in ready]
    yield engine
    engine.close()


@pytest.mark.parametrize("query", of("sql"))
def test_a_query_of_the_warehouse_runs_on_its_own_views(query: Query, warehouse: DuckDb) -> None:
    at_a_moment = query.text.replace("CURRENT_TIMESTAMP()", "@now")  # the façade leaves time to its caller

    fields, rows = warehouse.run(at_a_moment, {"now": ("TIMESTAMP", lines.NOW)})

    assert fields
    assert rows == []


@pytest.mark.parametrize("query", of("sql"))
def test_a_query_of_the_warehouse_reads_a_bounded_span(query: Query) -> None:
    """Pasted at night it must not read 400 days."""
    assert "TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL" in query.text


@pytest.mark.parametrize("query", of("promql"))
def test_a_promql_query_names_metrics_that_exist(query: Query, planned: Planned) -> None:
    known = {metric["name"] for metric in planned.of("google_logging_metric").values()}

    found = selectors(query.text)

    assert found
    for name, matchers, _ in found:
        stem = name.removeprefix(PREFIX)
        assert {stem, stem.removesuffix("_bucket"), stem.removesuffix("_sum")} & known, name
        assert "monitored_resource" in matchers


@pytest.mark.parametrize("query", of("sh"))
def test_a_command_names_secrets_services_and_jobs_that_exist(query: Query) -> None:
    scheduler = (MODULE.parent / "scheduler" / "main.tf").read_text()
    assert '"tallygate-${each.key}"' in scheduler, "modules/scheduler/main.tf names jobs in another way"
    named = {
        r"secrets versions list (\S+)": {STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET},
        r"scheduler jobs (?:run|pause) (\S+)": {"tallygate-JOB", *(f"tallygate-{job}" for job in jobs())},
        r"--service (\S+)": {SERVICE},
    }

    for pattern, known in named.items():
        assert set(re.findall(pattern, query.text)) <= known


def test_the_pages_of_jobs_tell_of_every_function_that_is_scheduled() -> None:
    functions = {job["function"] for job in jobs().values()}

    for page in ("job-failing", "job-missing"):
        content = (PLAYBOOKS / f"{page}.md").read_text()
        missing = {name for name in functions if f"| `{name}` |" not in content}
        assert missing == set(), f"docs/playbooks/alerts/{page}.md does not tell what {missing} does"


def test_pages_name_the_settings_that_the_module_has() -> None:
    """Numbers in prose: the minutes and shares of the burn rates."""
    speeds = (MODULE / "objectives.tf").read_text()

    assert "window_minutes = 60, budget_share = 0.02" in speeds
    assert "2 % of the period's budget of failures went within an hour" in page_text("availability-fast-burn")
    assert "window_minutes = 360, budget_share = 0.05" in speeds
    assert "5 % of the period's budget of failures went within six hours" in page_text(
        "availability-slow-burn"
    )


def page_text(page: str) -> str:
    """A page."""
    return (PLAYBOOKS / f"{page}.md").read_text()
