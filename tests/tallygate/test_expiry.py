"""What expires carries a timestamp that Firestore's policies delete by, and nothing else does."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from google.cloud import firestore

from tallygate import spend
from tallygate.appdb import DELETE_AT, EXPIRING, open_database
from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.subscriptions import inbox
from tallygate.subscriptions.events import StripeEvent

MODULE: Final = Path(__file__).parents[2] / "modules" / "app-database"
NOW: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)


def event(kind: str) -> StripeEvent:
    return StripeEvent(
        event_id="evt_1", type=kind, thin=False, livemode=False, created=NOW, account=None, object_id="cus_1",
        customer="cus_1",
    )  # fmt: skip


def test_terraform_expires_the_collections_and_the_field_that_the_code_writes() -> None:
    variables, main = ((MODULE / name).read_text() for name in ("variables.tf", "main.tf"))
    default = re.search(r'"expiring_collections".*?default\s+= \[(.*?)\]', variables, re.DOTALL)
    field = re.search(r'"google_firestore_field" "expiry".*?field\s+= "(\w+)"', main, re.DOTALL)

    assert default is not None
    assert field is not None
    message = "modules/app-database and tallygate/appdb/interface.py name different {}"
    assert tuple(re.findall(r'"(\w+)"', default[1])) == EXPIRING, message.format("collections")
    assert field[1] == DELETE_AT, message.format("fields")


@pytest.mark.usefixtures("emulated_firestore")
@pytest.mark.parametrize("collection", EXPIRING)
def test_firestore_holds_a_timestamp_and_gives_back_the_text(collection: str) -> None:
    """A policy deletes nothing by a text."""
    database = open_database("firestore:(default)", project_id="test-expiry")
    there = firestore.Client(project="test-expiry").collection(collection)
    document = {"n": 1, DELETE_AT: rfc3339(NOW + timedelta(microseconds=5))}

    database.put(collection, "put", document)
    database.create(collection, "created", document)
    database.transact(lambda transaction: transaction.put(collection, "transacted", document))

    for name in ("put", "created", "transacted"):
        assert there.document(name).get().to_dict()[DELETE_AT] == NOW + timedelta(microseconds=5)
        assert database.get(collection, name) == document
    assert [found for _, found in database.query(collection)] == [document] * 3
    assert database.transact(lambda transaction: transaction.get(collection, "put")) == document
    database.close()


def test_spend_expires_after_budgets_and_witnesses_have_looked_at_it() -> None:
    document = spend.document("acme", "2025-12", "i-1", {"2025-12-31T23": Counter({spend.REQUESTS: 1})})

    assert parse_rfc3339(document[DELETE_AT]) == datetime(2026, 1, 1, tzinfo=UTC) + spend.KEPT


def test_an_event_expires_once_it_is_settled(tmp_path: Path) -> None:
    database = open_database(f"sqlite:{tmp_path / 'app.sqlite'}", project_id="p")
    stored = inbox.store(database, event("customer.deleted"), NOW, "webhook")
    assert stored is not None
    seen = {"waiting": database.get("inbox", "evt_1")}
    inbox.park(database, stored, "no_tenant", NOW)
    seen["parked"] = database.get("inbox", "evt_1")
    inbox.settle(database, ["evt_1"], NOW)
    seen["done"] = database.get("inbox", "evt_1")

    expiries = {state: (document or {}).get(DELETE_AT) for state, document in seen.items()}

    assert expiries == {"waiting": None, "parked": None, "done": rfc3339(NOW + inbox.KEPT)}


def test_an_event_that_is_ignored_expires_too(tmp_path: Path) -> None:
    database = open_database(f"sqlite:{tmp_path / 'app.sqlite'}", project_id="p")
    inbox.store(database, event("price.created"), NOW, "webhook")

    document = database.get("inbox", "evt_1")
    assert document is not None
    assert document[DELETE_AT] == rfc3339(NOW + inbox.KEPT)
