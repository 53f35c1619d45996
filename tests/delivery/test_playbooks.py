"""What the day-two pages say can be typed as it stands: each block runs, in a sandbox and in a checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import typer
from google.cloud import bigquery

from delivery.environments import REPOSITORY
from delivery.release_file import read_release
from sandbox.demo.collect import Connections
from sandbox.demo.settle import now
from sandbox.layout import STRIPE_API_KEY
from tallygate.appdb import open_database
from tallygate.cli.__main__ import app
from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.tenants import get_tenant, list_keys
from tests.delivery.conftest import Checkout, release
from tests.sql.cases import line as usage_line
from tests.support.archived import write_archive

FOLDER: Final = REPOSITORY / "docs" / "playbooks" / "tasks"
PAGES: Final = {
    path.name: path.read_text() for path in sorted(FOLDER.glob("*.md")) if path.name != "README.md"
}
README: Final = (FOLDER / "README.md").read_text()
ELSEWHERE: Final = ("first-apply.md", "upgrade-litellm.md")
"""Pages with tests of their own."""
_BLOCK: Final = re.compile(r"^ *```(\w+)(?: ([^\n]*))?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`((?:make|tallygate) [^`]+)`")
_NOT_RUN: Final = ("gcloud", "bq")
_MOST_NOT_RUN: Final = 10
_PARTS: Final = ["When", "Steps", "Check", "Undo"]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    info: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*match) for match in _BLOCK.findall(page)]


def commands(text: str) -> Iterator[str]:
    """The commands of a shell block, lines that are continued joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield re.sub(r" +", " ", line.strip())


def runnable(text: str) -> str:
    """A shell block without the commands that nothing here can answer."""
    kept = [command for command in commands(text) if command.split()[0] not in _NOT_RUN]
    return "\n".join(kept)


# --- what the pages are ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_parts_and_is_listed(name: str) -> None:
    headings = re.findall(r"^## (.*)$", PAGES[name], re.MULTILINE)

    if name not in ELSEWHERE:
        assert [heading for heading in headings if heading in _PARTS] == _PARTS, name
    assert f"]({name})" in README, f"docs/playbooks/tasks/README.md does not list {name}"


def test_commands_that_no_test_runs_are_listed_and_few() -> None:
    table = README.partition("## Commands that no test runs")[2]
    listed = [shlex.split(command) for command in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)]
    found = [
        (name, shlex.split(command))
        for name, page in PAGES.items()
        if name not in ELSEWHERE
        for block in blocks(page)
        if block.language == "sh"
        for command in commands(block.text)
        if command.split()[0] in _NOT_RUN
    ]

    assert len(listed) <= _MOST_NOT_RUN
    for name, words in found:
        assert any(words[: len(start)] == start for start in listed), f"{name}: {words} is not in the table"
    for start in listed:
        assert any(words[: len(start)] == start for _, words in found), f"{start} is on no page any more"


def test_commands_in_sentences_and_blocks_exist_with_their_options() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for path in sorted((REPOSITORY / "docs").rglob("*.md")):
        page = path.read_text()
        in_blocks = [
            command[command.index("tallygate ") :]
            for block in blocks(page)
            if block.language == "sh"
            for command in commands(block.text)
            if re.search(r"(?:^|[|(] ?)tallygate ", command)
        ]
        for command in (*_INLINE.findall(page), *in_blocks):
            first, *words = shlex.split(command.rstrip(")"))
            if first == "make":
                assert words[0] in targets, f"{path}: {command}"
            else:
                _assert_typed_right(words, f"{path}: {command}")


def _assert_typed_right(words: list[str], where: str) -> None:
    """Whether the command's parser knows its name and all its options."""
    group: Any = typer.main.get_command(app)
    while isinstance(group, typer.core.TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in group.commands, f"{where}: no command {words[0]}"
        group, words = group.commands[words[0]], words[1:]
    known = {name for parameter in group.params for name in parameter.opts} | {"--help"}
    options = {word for word in words if word.startswith("--")}
    assert options <= known, f"{where}: no option {options - known}"


# --- running them --------------------------------------------------------------------------------------


@dataclass
class Desk:
    """An operator at work: a checkout, a sandbox, and a shell with the names that the pages use."""

    checkout: Checkout
    sandbox: Connections
    variables: dict[str, str]

    @property
    def tenant(self) -> str:
        """The tenant that the page is about."""
        return self.variables["TENANT"]

    def follow(self, page: str) -> str:
        """Do what a page says, block by block in one shell; what was printed."""
        script = []
        for number, block in enumerate(blocks(page)):
            if block.language == "json":
                part = self.checkout.root.parent / f"part-{number}.json"
                part.write_text(block.text)
                path, key = block.info.split()
                script.append(f"merge {part} {path} {key}")
            elif block.language == "sh" and (text := runnable(block.text)):
                script.append(text)
        return self.shell("\n".join(script))

    def shell(self, script: str) -> str:
        """Run a script after the setup that every page begins with; its output."""
        (setup,) = (block.text for block in blocks(README) if block.info == "setup")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{setup}\n{script}"],
            cwd=self.checkout.root, env=self.variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n--- printed\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def prepare(self, script: str) -> None:
        """What must be so before a page is needed."""
        self.shell(script)


@pytest.fixture
def desk(site: Checkout, sandbox: Connections, request: pytest.FixtureRequest) -> Desk:
    state, layout = sandbox.state, sandbox.layout
    tools = site.root.parent / "tools"
    tools.mkdir()
    _tool(tools / "tallygate", _TALLYGATE)
    _tool(tools / "make", _MAKE)
    _tool(tools / "merge", _MERGE)
    tenant = state["tenants"][-1]
    variables = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(site.root.parent),
        "PYTHON": sys.executable,
        "REPOSITORY": str(REPOSITORY),
        "CHECKOUT": str(site.root),
        "SANDBOX": str(layout.root),
        "STORAGE_EMULATOR_HOST": os.environ["STORAGE_EMULATOR_HOST"],
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "operator", "GIT_AUTHOR_EMAIL": "operator@example.com",
        "GIT_COMMITTER_NAME": "operator", "GIT_COMMITTER_EMAIL": "operator@example.com",
        "TALLYGATE_PROJECT_ID": state["project_id"],
        "TALLYGATE_APP_DATABASE": state["app_database"],
        "TALLYGATE_CLOCK": f"file:{layout.clock}",
        "TALLYGATE_SECRETS": f"file:{layout.secrets}",
        "TALLYGATE_STRIPE_API_BASE": state["stripe_url"],
        "STRIPE_API": state["stripe_url"],
        "STRIPE_API_KEY": STRIPE_API_KEY,
        "WEBHOOK": state["webhook_url"],
        "NEW_KEY": "sk_test_another",
        "GATEWAY": state["proxy_url"],
        "KEY": tenant["api_key"],
        "TENANT": "t-" + re.sub(r"[^a-z]+", "-", request.node.callspec.params["name"])[:18],
        "TALLYGATE_RECONCILER_URL": state["functions"]["usage_reconciler"],
        "TALLYGATE_REPORTER_URL": state["functions"]["usage_reporter"],
        "BIGQUERY_EMULATOR_HOST": state["bigquery_url"],
        "SYNC": state["functions"].get("stripe_sync", ""),
        "FROM": (now(state) - timedelta(hours=2)).isoformat(),
        "TO": now(state).isoformat(),
    }  # fmt: skip
    return Desk(site, sandbox, variables)


def _tool(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


_TALLYGATE: Final = """#!/bin/sh
PYTHONPATH="$REPOSITORY" exec "$PYTHON" -m tallygate.cli "$@"
"""
_MAKE: Final = """#!/bin/sh
# The Makefile's own recipe, on this checkout and the running sandbox.
set -eu
PATH="${PATH#*:}"
recipe="$(make --no-print-directory -n -o .venv/.ready -C "$REPOSITORY" "$@" | grep -e '-m delivery')"
recipe="$(printf '%s' "$recipe" | sed "s|^[^ ]*python|$PYTHON|")"
case "$recipe" in
  *"delivery smoke --env ''"*) recipe="$recipe --sandbox $SANDBOX" ;;
esac
export PYTHONPATH="$REPOSITORY"
eval "$recipe --root $CHECKOUT"
"""
_MERGE: Final = """#!/bin/sh
exec "$PYTHON" - "$@" <<'PROGRAM'
import json, sys
part, path, key = sys.argv[1:]
content = json.load(open(path))
for name, entry in json.load(open(part)).items():
    content[key].setdefault(name, {}).update(entry)
open(path, "w").write(json.dumps(content, indent=2) + "\\n")
PROGRAM
"""


def _a_tenant(desk: Desk) -> None:
    desk.prepare(
        'tallygate tenants add "$TENANT" --plan team\ntallygate keys issue "$TENANT" --label "of a person"'
    )


def _a_second_release(desk: Desk) -> None:
    path = desk.checkout.folder("dev") / "release.auto.tfvars.json"
    release(desk.checkout, "dev", replace(read_release(path), image_digest="sha256:" + "99" * 32))
    desk.checkout.commit("Release something harmful to dev")


def _a_final_invoice(desk: Desk) -> None:
    """One invoice of $20, finalized and paid."""
    client = desk.sandbox.stripe
    customer = client.v1.customers.create({"name": "who wants money back"}).id
    invoice = client.v1.invoices.create({"customer": customer, "auto_advance": False})
    client.v1.invoice_items.create(
        {"customer": customer, "invoice": invoice.id, "amount": 2000, "currency": "usd"}
    )
    client.v1.invoices.finalize_invoice(invoice.id)
    client.v1.invoices.pay(invoice.id)
    desk.variables |= {
        "INVOICE": invoice.id,
        "AMOUNT": "500",
        "REASON": "slow in March",
        "CUSTOMER": customer,
    }


def _usage_that_is_not_sealed(desk: Desk) -> None:
    """A request whose usage event is in the warehouse a moment later."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    key = {"authorization": f"Bearer {desk.variables['KEY']}"}
    url = desk.variables["GATEWAY"]
    httpx.post(f"{url}/v1/chat/completions", json=body, headers=key, timeout=60).raise_for_status()
    httpx.post(f"{desk.sandbox.state['router_url']}/_sandbox/tick", timeout=60).raise_for_status()
    archive = desk.checkout.root.parent / "archive"
    lost = rfc3339(parse_rfc3339(desk.variables["TO"]) - timedelta(hours=1))
    tenant_id = desk.sandbox.state["tenants"][-1]["tenant_id"]
    write_archive(archive, usage_line("lost", at=lost, tenant_id=tenant_id))
    desk.variables["ARCHIVE"] = str(archive)


_BEFORE: Final[Mapping[str, Callable[[Desk], None]]] = {
    "erase-a-tenant.md": _a_tenant,
    "leave.md": _a_tenant,
    "refund-and-dispute.md": _a_final_invoice,
    "replay-usage.md": _usage_that_is_not_sealed,
    "restore-the-app-database.md": _a_tenant,
    "roll-back.md": _a_second_release,
}


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ELSEWHERE])
def test_a_page_can_be_followed_to_its_end(name: str, desk: Desk) -> None:
    if name in _BEFORE:
        _BEFORE[name](desk)

    printed = desk.follow(PAGES[name])

    if name in _AFTER:
        _AFTER[name](desk, printed)


def _tenant_is(status: str, keys: int) -> Callable[[Desk, str], None]:
    def check(desk: Desk, printed: str) -> None:
        database = open_database(desk.variables["TALLYGATE_APP_DATABASE"], project_id="p")
        tenant = get_tenant(database, desk.tenant)
        assert tenant is not None
        assert (tenant.status, len(list_keys(database, desk.tenant))) == (status, keys)
        database.close()

    return check


def _model_is_promoted(desk: Desk, printed: str) -> None:
    content = json.loads((desk.checkout.folder("staging") / "catalogue.json").read_text())
    assert "gpt-4.1-nano" in content["models"]
    assert "gpt-4o-mini" in printed  # of the gateway's list


def _plan_is_published(desk: Desk, printed: str) -> None:
    assert "trial-flat" in printed
    again = desk.shell("tallygate plans apply")
    assert again == "Stripe has what plans.json says\n"


def _plans_the_old_digest(desk: Desk, printed: str) -> None:
    assert "9999" not in (desk.checkout.folder("dev") / "release.auto.tfvars.json").read_text()


def _money_is_back(desk: Desk, printed: str) -> None:
    notes = desk.sandbox.stripe.v1.credit_notes.list({"invoice": desk.variables["INVOICE"]})
    assert [note.amount for note in notes.data] == [500]


def _nothing_was_missing(desk: Desk, printed: str) -> None:
    assert "sealed=" in printed, "neither the request nor the line of the archive was sealed"
    assert printed.rstrip().endswith("[]"), "something is left to seal after a replay"


_AFTER: Final[Mapping[str, Callable[[Desk, str], None]]] = {
    "add-a-model.md": _model_is_promoted,
    "add-a-plan.md": _plan_is_published,
    "erase-a-tenant.md": _tenant_is("closed", 0),
    "leave.md": _tenant_is("suspended", 1),
    "onboard-a-tenant.md": _tenant_is("pending", 1),
    "refund-and-dispute.md": _money_is_back,
    "replay-usage.md": _nothing_was_missing,
    "roll-back.md": _plans_the_old_digest,
}


# --- queries ---------------------------------------------------------------------------------------------

QUERIES: Final = [
    pytest.param(block.text, id=f"{name} {number}")
    for name, page in PAGES.items()
    for number, block in enumerate(blocks(page))
    if block.language == "sql"
]


@pytest.mark.parametrize("sql", QUERIES)
def test_a_query_runs_on_the_warehouse(sql: str, sandbox: Connections) -> None:
    values: Mapping[str, tuple[str, Any]] = {
        "customer": ("STRING", sandbox.state["tenants"][-1]["stripe_customer"]),
        "since": ("TIMESTAMP", now(sandbox.state) - timedelta(days=1)),
        "until": ("TIMESTAMP", now(sandbox.state) + timedelta(days=1)),
    }
    parameters = [
        bigquery.ScalarQueryParameter(name, *values[name]) for name in sorted(set(re.findall(r"@(\w+)", sql)))
    ]

    rows = sandbox.warehouse.query_and_wait(
        sql, job_config=bigquery.QueryJobConfig(query_parameters=parameters)
    )

    assert rows.schema


def test_the_database_that_operators_reach_is_the_stacks() -> None:
    text = (REPOSITORY / "modules" / "app-database" / "variables.tf").read_text()
    name = re.search(r'variable "name" \{.*?default += "([^"]+)"', text, re.DOTALL)

    assert name is not None
    assert f"firestore:{name[1]}" in README, "docs/playbooks/tasks/README.md and modules/app-database differ"
