"""Alerts on audit entries: who read a secret, and who changed the ledger."""

from __future__ import annotations

from typing import Any, Final

import pytest

from sandbox.lql import parse as parse_filter
from sandbox.router.entries import LogEntry
from tests.observability.places import MODULE
from tests.observability.scenes import log_filter
from tests.terraform.conftest import REPOSITORY


def secret_read(who: dict[str, Any], method: str = "AccessSecretVersion") -> LogEntry:
    """The audit entry of a secret's read.

    Source: https://cloud.google.com/secret-manager/docs/audit-logging
    """
    service = "google.cloud.secretmanager.v1.SecretManagerService"
    return {
        "logName": "projects/demo-project/logs/cloudaudit.googleapis.com%2Fdata_access",
        "protoPayload": {
            "serviceName": "secretmanager.googleapis.com",
            "methodName": f"{service}.{method}",
            "resourceName": "projects/1/secrets/stripe-api-key/versions/3",
            "authenticationInfo": who,
        },
    }


ROBOT: Final = "usage-reporter@demo-project.iam.gserviceaccount.com"


def acting_as(who: str) -> dict[str, Any]:
    """Someone who uses a service account's rights."""
    chain = [{"firstPartyPrincipal": {"principalEmail": who}}]
    return {"principalEmail": ROBOT, "serviceAccountDelegationInfo": chain}


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ({"principalEmail": "someone@example.com"}, True),
        ({"principalEmail": ROBOT}, False),
        ({"principalEmail": "service-1@serverless-robot-prod.iam.gserviceaccount.com"}, False),
        ({"principalEmail": "forged.gserviceaccount.com@example.com"}, True),
        ({"principalSubject": "principal://iam.googleapis.com/locations/global/workforcePools/p/x"}, True),
        (acting_as("someone@example.com"), True),
        (acting_as("service-1@serverless-robot-prod.iam.gserviceaccount.com"), False),
    ],
)
def test_a_persons_read_of_a_secret_is_told(
    policies: dict[str, Any], who: dict[str, Any], told: bool
) -> None:
    chosen = parse_filter(log_filter(policies["secret-read-by-a-person"]))

    assert chosen.matches(secret_read(who)) is told


def test_looking_at_a_secrets_name_is_not_reading_it(policies: dict[str, Any]) -> None:
    chosen = parse_filter(log_filter(policies["secret-read-by-a-person"]))

    assert not chosen.matches(secret_read({"principalEmail": "someone@example.com"}, "GetSecretVersion"))


def ledger_job(kind: str, **configuration: Any) -> LogEntry:
    """The audit entry of a BigQuery job.

    Source: https://cloud.google.com/bigquery/docs/reference/auditlogs (BigQueryAuditMetadata)
    """
    return {
        "logName": "projects/demo-project/logs/cloudaudit.googleapis.com%2Fdata_access",
        "protoPayload": {
            "serviceName": "bigquery.googleapis.com",
            "metadata": {"jobChange": {"job": {"jobConfig": {kind: configuration}}}},
        },
    }


LEDGER_TABLE: Final = "projects/demo-project/datasets/ledger/tables/meter_deltas"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (ledger_job("queryConfig", statementType="UPDATE", destinationTable=LEDGER_TABLE), True),
        (ledger_job("queryConfig", statementType="DELETE", destinationTable=LEDGER_TABLE), True),
        (ledger_job("queryConfig", statementType="MERGE", destinationTable=LEDGER_TABLE), True),
        (ledger_job("queryConfig", statementType="TRUNCATE_TABLE", destinationTable=LEDGER_TABLE), True),
        (
            ledger_job(
                "queryConfig",
                statementType="SELECT",
                writeDisposition="WRITE_TRUNCATE",
                destinationTable=LEDGER_TABLE,
            ),
            True,
        ),
        (ledger_job("loadConfig", writeDisposition="WRITE_TRUNCATE", destinationTable=LEDGER_TABLE), True),
        (ledger_job("queryConfig", statementType="INSERT", destinationTable=LEDGER_TABLE), False),
        (ledger_job("loadConfig", writeDisposition="WRITE_APPEND", destinationTable=LEDGER_TABLE), False),
        (
            ledger_job(
                "queryConfig",
                statementType="SELECT",
                writeDisposition="WRITE_TRUNCATE",
                destinationTable="projects/demo-project/datasets/_1f/tables/anon2",
            ),
            False,
        ),
        (
            ledger_job(
                "queryConfig",
                statementType="DELETE",
                destinationTable="projects/demo-project/datasets/ledger_copy/tables/meter_deltas",
            ),
            False,
        ),
        (
            {
                "logName": "projects/demo-project/logs/cloudaudit.googleapis.com%2Factivity",
                "protoPayload": {
                    "serviceName": "bigquery.googleapis.com",
                    "resourceName": LEDGER_TABLE,
                    "metadata": {"tableDeletion": {"reason": "TABLE_DELETE_REQUEST"}},
                },
            },
            True,
        ),
    ],
)
def test_whatever_changes_the_ledger_is_told_and_what_adds_to_it_is_not(
    policies: dict[str, Any], entry: LogEntry, told: bool
) -> None:
    assert parse_filter(log_filter(policies["ledger-changed"])).matches(entry) is told


def test_the_product_itself_only_adds_to_the_ledger() -> None:
    """Else the alert on changes would be the product's own noise."""
    statements = [
        path
        for folder in (REPOSITORY / "tallygate", MODULE.parent)
        for path in folder.rglob("*.sql")
        if any(word in path.read_text().upper() for word in ("UPDATE ", "DELETE ", "MERGE ", "TRUNCATE "))
    ]

    assert statements == []
