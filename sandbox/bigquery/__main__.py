"""Serves the façade: ``python -m sandbox.bigquery --port N --state DIR --clock file:PATH --project P``."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from sandbox.bigquery.app import create_app
from tallygate.clock import clock_from


def main() -> None:
    """Read the arguments and serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.bigquery", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="directory of the warehouse")
    parser.add_argument("--clock", default="system", help="system or file:<path>")
    parser.add_argument("--project", required=True, help="the only project that is served")
    given = parser.parse_args()
    app = create_app(given.state, clock_from(given.clock), given.project)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
