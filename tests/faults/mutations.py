"""What holds the promise, removed one piece at a time, in this process only."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

import sandbox.warehouse
import tallygate.metering.warehouse
from tallygate.metering import fence, seal, send
from tests.faults import crafted
from tests.faults.script import Script


@dataclass(frozen=True, slots=True)
class Mutation:
    """A piece that is removed, and a month that needs it."""

    name: str
    remove: Callable[[pytest.MonkeyPatch], None]
    month: Callable[[], Script]


def _cut(text: str, pattern: str, instead: str = "") -> str:
    """The text with the pattern replaced, which must be there once."""
    cut, times = re.subn(pattern, instead, text, flags=re.DOTALL)
    assert times == 1, f"{pattern} is there {times} times: the mutation no longer fits the product"
    return cut


def _mutate_statement(patch: pytest.MonkeyPatch, name: str, pattern: str, instead: str = "") -> None:
    original = tallygate.metering.warehouse._text

    def mutated(wanted: str) -> str:
        text = original(wanted)
        return _cut(text, pattern, instead) if wanted == name else text

    patch.setattr(tallygate.metering.warehouse, "_text", mutated)


def _without_deduplication(patch: pytest.MonkeyPatch) -> None:
    original = sandbox.warehouse.views

    def mutated() -> dict[str, str]:
        texts = original()
        lines = r"QUALIFY ROW_NUMBER\(\) OVER \(\s*PARTITION BY d\.line_timestamp.*?\) = 1"
        return texts | {"usage_clean": _cut(texts["usage_clean"], lines)}

    patch.setattr(sandbox.warehouse, "views", mutated)


def _without_fence(patch: pytest.MonkeyPatch) -> None:
    """Neither a job id made of the seal's number nor the look at the ledger's head."""
    head = r"WHERE \(\s*SELECT COALESCE\(MAX\(h\.seal_number\).*?= @seal_number - 1"
    _mutate_statement(patch, "seal", head)
    _without_job_ids(patch)


def _without_job_ids(patch: pytest.MonkeyPatch) -> None:
    """Two statements that read one snapshot both see the head that they look for."""
    original = fence.run_fenced

    def mutated(warehouse: Any, job_prefix: str, name: str, parameters: Mapping[str, Any]) -> fence.Fenced:
        return original(warehouse, f"{job_prefix}-{uuid.uuid4().hex}", name, parameters)

    patch.setattr(seal, "run_fenced", mutated)


def _without_gate(patch: pytest.MonkeyPatch) -> None:
    """A row is sent again however long its outcome has been unknown."""
    original = send.Sender.__init__

    def mutated(self: send.Sender, *args: Any, policy: send.SendPolicy, **given: Any) -> None:
        original(self, *args, policy=replace(policy, held_after=timedelta(days=400)), **given)

    patch.setattr(send.Sender, "__init__", mutated)


def _without_collision_check(patch: pytest.MonkeyPatch) -> None:
    """A duplicate is always taken for a success."""
    patch.setattr(send._Answered, "surprising", lambda _: False)
    original = send._outcome

    def mutated(answered: Any, known: frozenset[str]) -> Any:
        return original(answered, known | {answered.row.event.identifier})

    patch.setattr(send, "_outcome", mutated)


def _without_frozen_values(patch: pytest.MonkeyPatch) -> None:
    """What is sent is what the hour has used by then, and not what was sealed."""
    total = (
        "(SELECT SUM(h.value) FROM `${ledger}.usage_hours` AS h WHERE h.tenant_id = p.tenant_id "
        "AND h.meter = p.meter AND h.usage_hour = p.usage_hour) AS value,"
    )
    _mutate_statement(patch, "pending", r"p\.value,", total)


def _without_frozen_identifiers(patch: pytest.MonkeyPatch) -> None:
    """Each attempt has an identifier of its own."""
    original = send._pending_from

    def mutated(row: Mapping[str, Any]) -> send.PendingRow:
        made = original(row)
        identifier = f"{made.event.identifier.rpartition(':')[0]}:{uuid.uuid4().int % 10**9}"
        return replace(made, event=replace(made.event, identifier=identifier))

    patch.setattr(send, "_pending_from", mutated)


MUTATIONS = (
    Mutation("deduplication", _without_deduplication, crafted.redelivered),
    Mutation("fence", _without_fence, crafted.overlapping),
    Mutation("job ids", _without_job_ids, crafted.overlapping),
    Mutation("gate", _without_gate, crafted.unanswered_for_a_month),
    Mutation("collision check", _without_collision_check, crafted.taken_by_a_stranger),
    Mutation("frozen values", _without_frozen_values, crafted.unanswered_while_usage_goes_on),
    Mutation("frozen identifiers", _without_frozen_identifiers, crafted.unanswered_while_usage_goes_on),
)
