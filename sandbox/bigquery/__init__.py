"""A façade of BigQuery's REST API over DuckDB, for the unmodified ``google-cloud-bigquery`` client.

``python -m sandbox.bigquery --port N --state DIR --clock file:PATH --project P`` serves it.
What it does not know it refuses; see ``translate`` for the part of GoogleSQL that it runs.
"""
