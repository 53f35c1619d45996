"""The whole system, driven by the official clients: it balances, and the proof notices each corruption."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from sandbox.demo import proof as stages
from sandbox.demo.proof import Finding
from sandbox.demo.settle import now
from sandbox.layout import REPOSITORY, Layout
from sandbox.state import read_state
from tests.e2e.conftest import KILLED, PROXIES, Driven

_MOST_KIB: Final = 2 * 1024 * 1024
_STATE: Final = {
    "schema_version", "proxy_url", "proxy_urls", "webhook_url", "stripe_url", "provider_url", "bigquery_url",
    "router_url", "clock_url", "dashboard_url", "functions", "app_database", "dataset_raw", "dataset_ledger",
    "project_id", "pids", "supervisor_pid", "log_dir", "tenants",
}  # fmt: skip
_ROW: Final = {
    "tenant_id", "meter", "unit", "provider", "waived_upstream", "estimate_error", "unrecorded", "events",
    "warehouse", "included", "waived", "parked", "stripe", "one_off", "invoice",
}  # fmt: skip


def test_four_proxies_with_redelivered_shuffled_lines_and_killed_parts_balance(driven: Driven) -> None:
    assert [finding.text for finding in driven.proof.findings] == []
    assert driven.proof.events == len(driven.steps)


def test_every_plan_ends_where_it_should(driven: Driven) -> None:
    """Not only do the sums agree: what a plan bills is on the invoice, and the rest is included."""
    plans = {tenant["tenant_id"]: tenant["plan"] for tenant in driven.connections.state["tenants"]}
    rows = {(plans[row.tenant_id], row.meter): row for row in driven.proof.rows}

    assert rows["starter", "llm_output_tokens"].included > 0
    assert rows["starter", "llm_output_tokens"].invoice == 0
    assert rows["team", "llm_output_tokens"].invoice > 0
    assert rows["team", "llm_cost_nano_usd"].included > 0
    assert rows["scale", "llm_cost_nano_usd"].invoice > 0
    assert all(row.unrecorded == row.parked == row.waived == 0 for row in driven.proof.rows)


def test_all_proxies_served(driven: Driven) -> None:
    logs = Path(driven.connections.state["log_dir"])

    served = {path.name for path in logs.glob("proxy-*.stdout.log") if path.stat().st_size}

    assert served == {f"proxy-{number}.1.stdout.log" for number in range(PROXIES)}


def test_killed_parts_have_come_back_under_other_pids(driven: Driven) -> None:
    pids = read_state(driven.connections.layout.state)["pids"]

    assert all(pids[name] != driven.killed[name] for name in KILLED)


def test_the_state_file_is_as_other_tools_read_it(driven: Driven) -> None:
    path = driven.connections.layout.state
    state = read_state(path)

    assert set(state) == _STATE, f"{path} and the contract of state.json differ"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(state["tenants"][0]) == {"tenant_id", "api_key", "stripe_customer", "plan"}


def test_memory_with_one_proxy_stays_within_bounds(driven: Driven) -> None:
    """Sum of the parts' peaks of proportional set size, of the proxies only the largest."""
    proxies = [kib for name, kib in driven.peak_kib.items() if name.startswith("proxy-")]
    others = [kib for name, kib in driven.peak_kib.items() if not name.startswith("proxy-")]

    total = max(proxies) + sum(others)

    print(f"peak PSS with one proxy: {total / 1024:.0f} MiB")
    assert len(proxies) == PROXIES
    assert total < _MOST_KIB, f"{total / 1024:.0f} MiB: {driven.peak_kib}"


def test_no_prompt_and_no_key_is_in_any_log_or_table(driven: Driven) -> None:
    connections = driven.connections
    state = connections.state
    tenant = state["tenants"][-1]
    canary = "canary-7f3a91-of-a-prompt"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"{canary} [[fail=500x9]]"}]}
    httpx.post(
        f"{state['proxy_url']}/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {tenant['api_key']}", "user-agent": "test"},
        timeout=60,
    )
    root = connections.layout.root
    files = [*root.glob("logs/*"), *root.glob("parts/*"), *root.glob("state/bigquery/**/*")]

    for path in filter(Path.is_file, files):
        content = path.read_bytes()
        assert canary.encode() not in content, path
        for entry in state["tenants"]:
            assert entry["api_key"].encode() not in content, path


# --- corruptions: each in its own place, in an order that spoils nothing for the next ---------------------

Lines = list[dict[str, Any]]


def _stages(findings: set[Finding]) -> set[str]:
    return {finding.stage for finding in findings}


def _drop(lines: Lines) -> Lines:
    last = next(line for line in reversed(lines) if line["event"] == "llm_usage")
    return [line for line in lines if line is not last]


def _alter(lines: Lines) -> Lines:
    _billed(lines)["output_tokens"] += 1
    return lines


def _foreign(lines: Lines) -> Lines:
    line = _billed(lines)
    line["tenant_id"] = "aurora" if line["tenant_id"] != "aurora" else "corvus"
    return lines


def _twice(lines: Lines) -> Lines:
    return [*lines, *lines]


def _billed(lines: Lines) -> dict[str, Any]:
    return next(line for line in lines if line["event"] == "llm_usage" and line["output_tokens"])


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        pytest.param(_drop, stages.GATEWAY, id="a usage event is dropped"),
        pytest.param(_alter, stages.GATEWAY, id="a count is altered"),
        pytest.param(_foreign, stages.SCRIPT, id="an event names another tenant"),
        pytest.param(_twice, None, id="lines are delivered twice"),
    ],
)
def test_corrupt_output_of_a_proxy_is_noticed(
    change: Callable[[Lines], Lines], stage: str | None, driven: Driven, tmp_path: Path
) -> None:
    copy = tmp_path / "logs"
    shutil.copytree(driven.connections.state["log_dir"], copy)
    path = copy / "proxy-0.1.stdout.log"
    lines = change([json.loads(text) for text in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    found = _stages(driven.findings(log_dir=str(copy)) - driven.findings())

    assert stage in found if stage else found == set()


def test_a_doubled_delta_is_noticed(driven: Driven) -> None:
    before = driven.findings()
    client, ledger = driven.connections.warehouse, driven.connections.state["dataset_ledger"]
    table = f"`{ledger}.meter_deltas`"
    columns = [field.name for field in client.get_table(f"{client.project}.{ledger}.meter_deltas").schema]
    again = ", ".join("'doubled' AS identifier" if name == "identifier" else f"d.{name}" for name in columns)
    client.query_and_wait(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {again} FROM {table} AS d "  # noqa: S608
        "WHERE d.disposition = 'included' LIMIT 1"
    )

    found = _stages(driven.findings() - before)
    client.query_and_wait(f"DELETE FROM {table} AS d WHERE d.identifier = 'doubled'")  # noqa: S608

    assert found == {stages.SEAL}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"input_tokens": -1, "total_tokens": 0}, "negative_count"),
        ({"input_tokens": 1e12}, "huge_count"),
        ({"input_tokens": 1.5}, "fractional_count"),
        ({"input_tokens": "many"}, "type_mismatch"),
        ({"input_tokens": None}, "missing_count"),
        ({"total_tokens": 99}, "total_mismatch"),
        ({"cost_nano_usd": "1e3"}, "unreadable_count"),
        ({"schema_version": 2}, "future_schema_version"),
        ('{"event": "llm_usage", "request_id": "broken', "broken_json"),
    ],
)
def test_a_line_that_cannot_be_usage_is_kept_with_its_reason(
    line: dict[str, Any] | str, reason: str, driven: Driven
) -> None:
    state, client = driven.connections.state, driven.connections.warehouse
    log = Path(state["log_dir"]) / "proxy-0.1.stdout.log"
    good = next(
        json.loads(text) for text in log.read_text().splitlines() if json.loads(text)["event"] == "llm_usage"
    )
    request_id = f"bad-{reason}"
    moment = now(state).isoformat().replace("+00:00", "Z")
    renamed = {
        "request_id": request_id, "timestamp": moment, "time": moment,
        "logging.googleapis.com/insertId": request_id,
    }  # fmt: skip
    text = line if isinstance(line, str) else json.dumps({**good, **renamed, **line})
    copied = log.with_name(
        "proxy-9.1.stdout.log"
    )  # an instance of its own: the proof's files stay as they are
    with copied.open("a") as file:
        file.write(text + "\n")

    httpx.post(f"{state['router_url']}/_sandbox/tick", timeout=60).raise_for_status()
    answer = httpx.post(state["functions"]["usage_reporter"], json={"depth": "recent"}, timeout=120)

    assert answer.status_code == 200, answer.text
    found = client.query_and_wait(
        f"SELECT r.reason FROM `{state['dataset_ledger']}.rejected_lines` AS r "  # noqa: S608
        f"WHERE r.request_id = '{request_id}' OR (r.reason = 'broken_json' AND '{reason}' = 'broken_json')"
    )
    assert [row["reason"] for row in found] == [reason]


def test_a_usage_event_that_is_lost_behind_the_gateway_is_noticed(driven: Driven) -> None:
    before = driven.findings()
    client, state = driven.connections.warehouse, driven.connections.state
    table = f"`{state['dataset_raw']}.run_googleapis_com_stdout`"
    line = next(client.query_and_wait(
        f"SELECT l.jsonPayload.request_id AS id FROM {table} AS l "  # noqa: S608
        "WHERE l.jsonPayload.event = 'llm_usage' AND l.jsonPayload.output_tokens > 0 LIMIT 1"
    ))  # fmt: skip
    client.query_and_wait(f"DELETE FROM {table} AS l WHERE l.jsonPayload.request_id = '{line['id']}'")  # noqa: S608

    found = _stages(driven.findings() - before)

    assert found == {stages.ROUTER, stages.SEAL}


def test_a_doubled_meter_event_is_noticed(driven: Driven) -> None:
    """Last: what Stripe has taken can't be taken back."""
    before = driven.findings()
    row = next(row for row in driven.proof.rows if row.stripe)
    customers = {t["tenant_id"]: t["stripe_customer"] for t in driven.connections.state["tenants"]}
    driven.connections.stripe.v1.billing.meter_events.create(
        {
            "event_name": row.meter,
            "payload": {"stripe_customer_id": customers[row.tenant_id], "value": "5"},
            "timestamp": int(now(driven.connections.state).timestamp()),
        }
    )
    httpx.post(
        f"{driven.connections.state['clock_url']}/_sandbox/clock", json={"advance_seconds": 3600}, timeout=120
    ).raise_for_status()

    found = _stages(driven.findings() - before)

    assert stages.SEND in found


@pytest.mark.timeout(600)
def test_the_demo_lives_through_a_subscription_and_trouble_and_balances(tmp_path: Path) -> None:
    """The demo itself: Checkout, seats, an unpaid renewal, paying, leaving; a kill, an outage, a replay."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.demo", "--requests", "100", "--root", tmp_path / "root"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "root" / "demo.json").read_text())
    assert set(report) == {
        "rows", "requests", "events", "verdict", "seed", "duration_seconds", "versions",
    }  # fmt: skip
    assert report["verdict"] == "balanced"
    assert set(report["rows"][0]) == _ROW
    assert sum(row["unrecorded"] for row in report["rows"]) > 0, "the killed instance lost nothing"


@pytest.mark.timeout(600)
def test_a_demo_that_does_not_balance_exits_with_1_and_names_the_stage(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "root")
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--root", str(layout.root)], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    try:
        assert sandbox.stdout is not None
        assert b"The sandbox is up" in sandbox.stdout.readline()
        url = read_state(layout.state)["router_url"]
        late = {"kind": "delay", "count": 3, "seconds": 90 * 86_400, "match": {"event": "llm_usage"}}
        httpx.post(f"{url}/_sandbox/faults", json=late).raise_for_status()
        done = subprocess.run(
            [sys.executable, "-m", "sandbox.demo", "--attach", "--requests", "100", "--root", layout.root],
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        sandbox.terminate()
        sandbox.wait(60)
        assert sandbox.stdout is not None
        sandbox.stdout.close()

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"at stage '{stages.ROUTER}'" in done.stdout
    assert not layout.state.exists()
