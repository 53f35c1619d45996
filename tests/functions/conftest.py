"""The servers that the functions' tests run against."""

from __future__ import annotations

from tests.support.stage_fixtures import bigquery_host, stripe_host

__all__ = ["bigquery_host", "stripe_host"]
