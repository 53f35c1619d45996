"""A fresh warehouse and a fresh Stripe account for each test."""

from __future__ import annotations

from tests.support.stage_fixtures import bigquery_host, on_stage, stripe_host

__all__ = ["bigquery_host", "on_stage", "stripe_host"]
