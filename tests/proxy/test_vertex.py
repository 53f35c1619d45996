"""Models of Vertex AI: called as the gateway's own identity, metered, without a way to what it may read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anthropic
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from proxy import usage, vertex
from proxy.errors import ApiError
from sandbox.parts import write_catalogue
from tallygate.records import TokenCounts
from tests.support.gateway import Instance, Site, tenant
from tests.support.host import Host

MODEL: Final = "gemini-2.5-flash"
TOKEN: Final = "token-of-the-metadata-server"
LOCATION: Final = "europe-west4"
USAGE: Final = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 400,
    "candidatesTokenCount": 70,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 1100,
}
COUNTS: Final = TokenCounts(input=600, cached_input=400, output=100, reasoning=30)
PICTURE: Final = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACADs="


@dataclass
class Google:
    """Vertex AI and the metadata server of a machine that runs in Google Cloud."""

    url: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    """Path, authorization and body of each call."""
    breaks: bool = False

    async def metadata(self, request: Request) -> Response:
        """What the credentials' library asks for."""
        kind = {"Metadata-Flavor": "Google"}
        path = request.path_params.get("path", "")
        if path.endswith("/token"):
            token = {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}
            return JSONResponse(token, headers=kind)
        if "service-accounts" in path:
            account = {"email": "tallygate-proxy@test-project.iam.gserviceaccount.com", "scopes": []}
            return JSONResponse(account, headers=kind)
        return PlainTextResponse("googleapis.com" if "universe" in path else "test-project", headers=kind)

    async def model(self, request: Request) -> Response:
        """``generateContent`` and its stream."""
        body = await request.json()
        self.asked.append((request.url.path, request.headers.get("authorization", ""), body))
        if not request.url.path.endswith(":streamGenerateContent"):
            return JSONResponse(_answer("Hello there", USAGE, "STOP"))
        events = [
            _answer("Hello ", {"promptTokenCount": 1000, "totalTokenCount": 1000}),
            _answer("there", USAGE, "STOP"),
        ]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        return StreamingResponse(iter(lines[:1] if self.breaks else lines), media_type="text/event-stream")


def _answer(text: str, counted: dict[str, int], reason: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "usageMetadata": counted, "modelVersion": MODEL, "responseId": "r1"}


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    here, host = Google(), Host()
    routes = [
        Route("/computeMetadata/v1/{path:path}", here.metadata),
        Route("/", here.metadata),
        Route("/v1/{path:path}", here.model, methods=["POST"]),
    ]
    host.start()
    with host.serving(Starlette(routes=routes)) as url:
        here.url = url
        yield here
    host.stop()


@pytest.fixture(scope="module")
def vertex_gateway(
    google: Google, provider_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    """A gateway whose catalogue has a model of Vertex AI and nothing that is a key for it."""
    home = tmp_path_factory.mktemp("home")
    catalogue = json.loads(provider_site.catalogue.read_text())
    entry = catalogue["models"]["gpt-4o-mini"] | {
        "provider": "vertex_ai", "provider_model": MODEL, "api_base": google.url, "fallbacks": [],
        "retries": 0,
    }  # fmt: skip
    del entry["api_key_env"]
    catalogue["models"] = {
        "gemini": entry,
        "guarded": catalogue["models"]["unreachable"] | {"fallbacks": ["gemini"]},
    }
    (home / "catalogue.json").write_text(json.dumps(catalogue))
    provider_site.add(tenant("gemini-user", models=("gemini", "guarded")))
    place = google.url.removeprefix("http://")
    variables = {
        "TALLYGATE_CATALOGUE": str(home / "catalogue.json"), "TALLYGATE_VERTEX_LOCATION": LOCATION,
        "HOME": str(home), "GCE_METADATA_HOST": place, "GCE_METADATA_IP": place,
    }  # fmt: skip
    with provider_site.gateway(variables) as instance:
        yield instance


@pytest.fixture
def client(vertex_gateway: Instance, provider_site: Site, google: Google) -> Iterator[openai.OpenAI]:
    google.asked.clear()
    google.breaks = False
    key = provider_site.keys["gemini-user"]
    with openai.OpenAI(api_key=key, base_url=f"{vertex_gateway.url}/v1", max_retries=0, timeout=60) as made:
        yield made


def counted(event: dict[str, Any]) -> TokenCounts:
    return TokenCounts(
        input=event["input_tokens"], cached_input=event["cached_input_tokens"],
        cache_write=event["cache_write_tokens"], output=event["output_tokens"],
        reasoning=event["reasoning_tokens"],
    )  # fmt: skip


def test_a_request_reaches_the_model_as_the_gateways_own_identity(
    client: openai.OpenAI, google: Google, vertex_gateway: Instance
) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="gemini",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hello"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                ],
            }
        ],
    )

    assert answer.parse().choices[0].message.content == "Hello there"
    ((path, authorization, body),) = google.asked
    assert (
        path
        == f"/v1/projects/test-project/locations/{LOCATION}/publishers/google/models/{MODEL}:generateContent"
    )
    assert authorization == f"Bearer {TOKEN}"
    assert "inline_data" in json.dumps(body)
    event = vertex_gateway.event_of(answer.headers["x-request-id"])
    assert (counted(event), event["estimated"], event["status"]) == (COUNTS, False, "success")
    assert (event["provider_model"], event["unpriced"], event["attempts"]) == (MODEL, False, 1)


def test_a_stream_is_metered_by_its_last_event(
    client: openai.OpenAI, google: Google, vertex_gateway: Instance
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gemini", messages=[{"role": "user", "content": "Hello"}], stream=True
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)

    assert text == "Hello there"
    event = vertex_gateway.event_of(raw.headers["x-request-id"])
    assert (counted(event), event["estimated"], event["status"]) == (COUNTS, False, "success")


def test_a_stream_that_breaks_is_billed_by_what_came(
    client: openai.OpenAI, google: Google, vertex_gateway: Instance
) -> None:
    google.breaks = True
    raw = client.chat.completions.with_raw_response.create(
        model="gemini", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    for _ in raw.parse():
        pass

    event = vertex_gateway.event_of(raw.headers["x-request-id"])
    assert (event["estimated"], event["status"], event["input_tokens"]) == (True, "failure", 1000)
    assert 0 < event["output_tokens"] < 10


def test_anthropics_client_is_served_and_no_cache_is_made_at_google(
    google: Google, client: openai.OpenAI, vertex_gateway: Instance, provider_site: Site
) -> None:
    """A cache of Vertex AI is paid for by the hour, and nobody would be billed for it."""
    marked: Any = {"type": "text", "text": "word " * 5000, "cache_control": {"type": "ephemeral"}}
    with anthropic.Anthropic(
        api_key=provider_site.keys["gemini-user"], base_url=vertex_gateway.url, max_retries=0, timeout=60
    ) as anthropics:
        answer = anthropics.messages.with_raw_response.create(
            model="gemini", max_tokens=100, system=[marked], messages=[{"role": "user", "content": [marked]}]
        )

    assert [path.rpartition(":")[2] for path, _, _ in google.asked] == ["generateContent"]
    assert "cache_control" not in json.dumps(google.asked[0][2])
    event = vertex_gateway.event_of(answer.headers["x-request-id"])
    assert counted(event) == COUNTS


def test_a_fallback_to_vertex_is_priced_as_what_served(
    client: openai.OpenAI, vertex_gateway: Instance
) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="guarded", messages=[{"role": "user", "content": "Hello"}]
    )

    event = vertex_gateway.event_of(answer.headers["x-request-id"])
    assert (event["model"], event["served_model"], counted(event)) == ("guarded", "gemini", COUNTS)


def part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [fields]}]}


REFUSED: Final[dict[str, dict[str, Any]]] = {
    "a bucket": part(type="image_url", image_url={"url": "gs://test-project-configuration/catalogue.json"}),
    "a bucket as a file": part(type="file", file={"file_id": "gs://a/b.pdf"}),
    "a bucket behind a name": part(type="file", file={"file_data": "gs://a/b.pdf"}),
    "a page": part(type="image_url", image_url="https://example.com/a.png"),
    "a video": part(type="video_url", video_url={"url": "https://example.com/v.mp4"}),
    "anthropic's url": part(type="image", source={"type": "url", "url": "https://example.com/a.png"}),
    "a url in a tool's result": part(
        type="tool_result", content=[{"type": "image", "source": {"type": "url", "url": "gs://a/b"}}]
    ),
    "a url of a response": {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "gs://a/b"}]}]},
    "audio": part(type="input_audio", input_audio={"data": "aGk=", "format": "wav"}),
    "audio inline": part(type="file", file={"file_data": "data:audio/wav;base64,aGk="}),
    "a search": {"tools": [{"type": "function", "googleSearch": {}}]},
    "a search by its other name": {"tools": [{"type": "function", "google_search": {}}]},
    "code": {"tools": [{"type": "function", "codeExecution": {}}]},
    "a computer": {"tools": [{"type": "computer_use"}]},
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_google_would_fetch_or_charge_apart_is_refused(what: str) -> None:
    with pytest.raises(ApiError) as refused:
        vertex.checked(REFUSED[what])

    assert refused.value.status == 400


TAKEN: Final[dict[str, dict[str, Any]]] = {
    "a picture": part(type="image_url", image_url={"url": PICTURE}),
    "a PDF": part(type="file", file={"file_data": "data:application/pdf;base64,aGk="}),
    "text that speaks of urls": part(type="text", text="open gs://a/b and https://example.com"),
    "a tool call with a url": part(
        type="tool_use", id="t", name="open", input={"url": "https://example.com"}
    ),
    "a tool whose schema has a url": {
        "tools": [
            {"type": "function", "function": {"name": "open", "parameters": {"properties": {"url": {}}}}}
        ]
    },
    "anthropic's tool": {"tools": [{"name": "open", "description": "…", "input_schema": {"type": "object"}}]},
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_a_request_brings_itself_is_taken_as_it_is(what: str) -> None:
    assert vertex.checked(TAKEN[what]) == TAKEN[what]


def test_a_refusal_reaches_the_client_before_anyone_is_asked(client: openai.OpenAI, google: Google) -> None:
    messages: Any = REFUSED["a bucket"]["messages"]

    for model in ("gemini", "guarded"):
        with pytest.raises(openai.BadRequestError, match="inline, as data URLs"):
            client.chat.completions.create(model=model, messages=messages)

    assert google.asked == []


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (USAGE, COUNTS),
        ({"promptTokenCount": 5, "totalTokenCount": 5}, TokenCounts(input=5)),
        (
            {
                "promptTokenCount": 5,
                "toolUsePromptTokenCount": 3,
                "candidatesTokenCount": 2,
                "totalTokenCount": 10,
            },
            TokenCounts(input=8, output=2),
        ),
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 9,
                "thoughtsTokenCount": 4,
                "totalTokenCount": 14,
            },
            TokenCounts(input=5, output=9, reasoning=4),
        ),
    ],
    ids=["thoughts apart", "no answer", "a tool's prompt", "thoughts within"],
)
def test_geminis_counts_are_disjoint(reported: dict[str, int], expected: TokenCounts) -> None:
    assert usage.counts(reported) == expected


def test_a_gateway_without_a_place_for_vertex_says_so(
    provider_site: Site, vertex_gateway: Instance, tmp_path: Path
) -> None:
    catalogue = json.loads(provider_site.catalogue.read_text())
    entry = catalogue["models"]["gpt-4o-mini"] | {
        "provider": "vertex_ai",
        "provider_model": MODEL,
        "fallbacks": [],
    }
    del entry["api_key_env"]
    (tmp_path / "catalogue.json").write_text(json.dumps({"models": {"gemini": entry}}))
    instance = provider_site.start({"TALLYGATE_CATALOGUE": str(tmp_path / "catalogue.json")})

    assert instance.process.wait(60) != 0
    assert "TALLYGATE_VERTEX_LOCATION: is missing" in instance.stderr.read_text()


def test_a_sandbox_of_an_environment_with_such_a_model_calls_nobody_outside(tmp_path: Path) -> None:
    """Its double answers that it does not know the call."""
    entry = {"provider": "vertex_ai", "provider_model": MODEL}
    (tmp_path / "from.json").write_text(json.dumps({"models": {"gemini": entry}}))

    write_catalogue(tmp_path / "from.json", tmp_path / "to.json", "http://127.0.0.1:1")

    assert (
        json.loads((tmp_path / "to.json").read_text())["models"]["gemini"]["api_base"] == "http://127.0.0.1:1"
    )
