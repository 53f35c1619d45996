"""The gateway talks to its database and to the providers of its catalogue, and to nobody else."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx

from tests.support.gateway import Site, await_ready

LOCAL = {"127.0.0.1", "::1", "localhost"}


def test_no_start_and_no_request_reaches_beyond_the_catalogue(provider_site: Site) -> None:
    """No price list, no update check, no telemetry: a start must not depend on them, nor tell of itself."""
    noted = provider_site.folder / "addresses"
    command = [sys.executable, str(Path(__file__).with_name("offline_start.py"))]
    instance = provider_site.start({"NOTED": str(noted)}, command=command)
    try:
        await_ready(instance)
        assert "socket.connect" not in noted.read_text(), "a start needs nobody, not even a provider"
        headers = {"x-api-key": provider_site.keys["acme"]}
        for path, model in (("chat/completions", "gpt-4o"), ("messages", "claude-haiku-4-5")):
            for prompt in ("hi", "[[no_usage]]"):  # the second is estimated with a tokenizer
                messages = [{"role": "user", "content": prompt}]
                body = {"model": model, "messages": messages, "max_tokens": 50, "stream": True}
                answer = httpx.post(f"{instance.url}/v1/{path}", json=body, headers=headers, timeout=30)
                event = instance.event_of(answer.headers["x-request-id"])
                assert (event["status"], event["estimated"]) == ("success", prompt != "hi")
        assert instance.end() == 0
    finally:
        instance.process.kill()
        instance.process.wait()

    addresses = {line.split()[1] for line in noted.read_text().splitlines()}
    assert addresses, "the hook saw nothing"
    assert addresses <= LOCAL
