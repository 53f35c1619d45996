"""``python -m sandbox.bench``: measure, print, write ``.sandbox/bench.json``."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from sandbox.bench import ledger_suite, proxy_suite
from sandbox.bench.load import RefusedError
from sandbox.bench.result import RESULT_PATH, write_result
from sandbox.bench.warehouse import WrongSumError

SUITES: Final = ("proxy", "ledger")


def main(
    only: Annotated[str, typer.Option(help="One suite instead of all: proxy or ledger.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 7,
    requests: Annotated[int, typer.Option(min=30, help="Requests of one side in one round.")] = 200,
    cold_starts: Annotated[int, typer.Option(min=1, help="Pairs of cold starts.")] = 7,
    steady_seconds: Annotated[int, typer.Option(min=5, help="Seconds at ten requests a second.")] = 30,
    events: Annotated[int, typer.Option(min=1000, help="Usage events to seal.")] = 1_000_000,
    explained: Annotated[
        int, typer.Option(help="Requests of an invoice line to explain; 0: don't.")
    ] = 1_000_000,
    large: Annotated[int, typer.Option(help="Seal so many as well; 0: don't.")] = 10_000_000,
) -> None:
    """Measure the proxy beside a bare LiteLLM, and the ledger by itself."""
    if only and only not in SUITES:
        print(f"--only: is one of {', '.join(SUITES)}, not {only!r}", file=sys.stderr)
        raise typer.Exit(2)
    size = proxy_suite.Size(
        rounds=rounds, requests=requests, cold_starts=cold_starts, steady_seconds=steady_seconds
    )
    try:
        if only in ("", "proxy"):
            write_result("proxy", proxy_suite.run(_say, size))
        if only in ("", "ledger"):
            sizes = ledger_suite.Size(events=events, large=large, explained=explained)
            write_result("ledger", ledger_suite.run(_say, sizes))
    except (RefusedError, TimeoutError) as error:
        print(f"the benchmark could not run: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except WrongSumError as error:
        print(f"the ledger is wrong: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    print(f"written to {RESULT_PATH}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)
