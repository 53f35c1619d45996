"""``python -m sandbox.bench``: measure, print, write ``.sandbox/bench.json``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sandbox.bench import proxy_suite
from sandbox.bench.load import RefusedError
from sandbox.bench.result import RESULT_PATH, write_result


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 7,
    requests: Annotated[int, typer.Option(min=30, help="Requests of one side in one round.")] = 300,
    cold_starts: Annotated[int, typer.Option(min=1, help="Pairs of cold starts.")] = 7,
    steady_seconds: Annotated[int, typer.Option(min=5, help="Seconds at ten requests a second.")] = 30,
) -> None:
    """Measure the proxy beside a bare LiteLLM."""
    size = proxy_suite.Size(
        rounds=rounds, requests=requests, cold_starts=cold_starts, steady_seconds=steady_seconds
    )
    try:
        numbers = proxy_suite.run(lambda line: print(line, flush=True), size)
    except (RefusedError, TimeoutError) as error:
        print(f"the benchmark could not run: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    write_result("proxy", numbers)
    print(f"written to {RESULT_PATH}")


if __name__ == "__main__":
    typer.run(main)
