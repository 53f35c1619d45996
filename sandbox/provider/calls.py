"""What is the same for both APIs: a call is opened, may fail as asked, and is answered or streamed."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sandbox.faults import Fault, FaultRegistry
from sandbox.provider import directives, validation
from sandbox.provider.counting import count_prompt, prompt_text, words
from sandbox.provider.dialects import Dialect, RefusalError
from sandbox.provider.directives import Directives
from sandbox.provider.ledger import Charge, Ledger
from sandbox.provider.prompt_cache import CacheUse, PromptCache
from tallygate.clock import Clock

REQUEST_ID_HEADER: Final = "x-tallygate-request-id"
"""An opaque id that the gateway sends to a double on loopback only; a call without it gets one of its own."""
FAULTS: Final = frozenset(
    {"error_429", "error_500", "timeout", "garbage", "cut_stream", "no_usage", "latency"}
)
_TIMEOUT_SECONDS: Final = 600
_LATENCY_SECONDS: Final = 0.5
_CUT_PERCENT: Final = 50
_ASKED_TO_FAIL: Final = "the double was asked to fail"
_GARBAGE: Final = "this is not JSON {"
_FEWEST_CHUNKS: Final = 4
_MOST_TOKENS_PER_CHUNK: Final = 8


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of an API that calls a model."""

    dialect: Dialect
    name: str
    models: re.Pattern[str]
    rules: Sequence[validation.Rule]
    limits: Sequence[str] = ()
    """The parameters that limit the answer's tokens, the first that is given counts."""
    roles: frozenset[str] = frozenset()
    """Who may speak in its messages."""
    check: Callable[[Mapping[str, Any]], None] = lambda _: None
    """What else is checked of a body."""
    answers: Callable[[Mapping[str, Any]], int] = lambda _: 1
    """How many answers a body asks for."""
    reasons: Callable[[Mapping[str, Any]], bool] = lambda _: True
    """Whether a body lets the model reason."""


@dataclass(frozen=True)
class Call:
    """One provider call that is going to be answered."""

    body: Mapping[str, Any]
    charge: Charge
    asked: Directives
    created: int
    """Unix time."""
    tokens: int
    """Of each answer, reasoning included."""
    reasoning: int
    """Of each answer, thought and not said."""
    truncated: bool
    """The answer would have been longer than its limit."""
    headers: Mapping[str, str]

    @property
    def stream(self) -> bool:
        """Whether the answer comes as a stream."""
        return bool(self.body.get("stream"))

    @property
    def reports(self) -> bool:
        """Whether the answer says what was used."""
        return not self.asked.no_usage

    @cached_property
    def words(self) -> list[str]:
        """The visible part of each answer, a token each."""
        return words(self.tokens - self.reasoning)

    @property
    def text(self) -> str:
        """The visible part of each answer."""
        return "".join(self.words)

    def grouped(self) -> list[list[str]]:
        """The answer's words in the portions that a stream sends."""
        size = min(_MOST_TOKENS_PER_CHUNK, -(-len(self.words) // _FEWEST_CHUNKS) or 1)
        return [self.words[start : start + size] for start in range(0, len(self.words), size)]

    def id(self, prefix: str) -> str:
        """An id of something in the answer."""
        return f"{prefix}{self.charge.request_id}_{self.charge.attempt}"


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stream sends at once, and the tokens that were generated for it."""

    data: str
    tokens: int = 0


class CutError(Exception):
    """Breaks a stream off; not a failure of the double."""


class Provider:
    """The double's state, shared by both APIs."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.faults = FaultRegistry(FAULTS)
        self.cache = PromptCache(clock)

    async def open(self, request: Request, endpoint: Endpoint) -> Call | Response:
        """Open an attempt and let it fail as asked, or return what is to be answered."""
        named = request.headers.get(REQUEST_ID_HEADER)
        request_id = named or f"direct{secrets.token_hex(8)}"
        body: Mapping[str, Any] = {}
        try:
            body = await read_body(request, endpoint.dialect)
            check(body, endpoint)
        except RefusalError as refusal:
            if named:
                self.ledger.open(request_id, str(body.get("model", "")))
            return refused(refusal, endpoint.dialect, request_id)
        charge = self.ledger.open(request_id, body["model"])
        asked = directives.parse(prompt_text(body))
        attributes = {
            "model": charge.model,
            "endpoint": endpoint.name,
            "stream": bool(body.get("stream")),
            "request_id": request_id,
            "attempt": charge.attempt,
        }
        failure = await self._failure(request, asked, charge.attempt, attributes)
        if failure is not None:
            return refused(failure, endpoint.dialect, f"{request_id}_{charge.attempt}")
        cache = self.cache.use(_key(request), body) if endpoint.dialect.name == "anthropic" else CacheUse()
        call = _priced(charge, body, asked, cache, endpoint, int(self.clock.now().timestamp()))
        if asked.garbage or self.faults.take("garbage", **attributes):
            self.ledger.write(charge, reported=False, completed=True)
            return Response(_GARBAGE, media_type="application/json", headers=call.headers)
        return self._with_faults(call, attributes)

    async def _failure(
        self, request: Request, asked: Directives, attempt: int, attributes: Mapping[str, Any]
    ) -> RefusalError | None:
        """What happens instead of an answer, before anything has been generated."""
        if (latency := self.faults.take("latency", **attributes)) is not None:
            await asyncio.sleep(_number(latency, "seconds", _LATENCY_SECONDS))
        timeout = self.faults.take("timeout", **attributes)
        if asked.timeout or timeout is not None:
            seconds = _TIMEOUT_SECONDS if timeout is None else _number(timeout, "seconds", _TIMEOUT_SECONDS)
            await _until_gone(request, seconds)
            return RefusalError(504, "the request took too long")
        if asked.error_canary is not None:
            return RefusalError(400, f"refused: {asked.error_canary}")
        if attempt <= asked.fail_attempts:
            return RefusalError(asked.fail_status, _ASKED_TO_FAIL, retry_after=asked.retry_after)
        for kind, status in (("error_429", 429), ("error_500", 500)):
            if (fault := self.faults.take(kind, **attributes)) is not None:
                return RefusalError(status, _ASKED_TO_FAIL, retry_after=int(_number(fault, "retry_after", 0)))
        return None

    def _with_faults(self, call: Call, attributes: Mapping[str, Any]) -> Call:
        """The call with what a fault adds to its directives."""
        changes: dict[str, Any] = {}
        if call.stream and (cut := self.faults.take("cut_stream", **attributes)) is not None:
            changes["cut_percent"] = int(_number(cut, "percent", _CUT_PERCENT))
        if self.faults.take("no_usage", **attributes):
            changes["no_usage"] = True
        if not changes:
            return call
        return replace(call, asked=replace(call.asked, **changes))

    async def answer(self, call: Call, content: Mapping[str, Any]) -> Response:
        """A whole answer, charged when it is ready."""
        await asyncio.sleep(call.asked.delay_ms / 1000)
        self.ledger.write(call.charge, reported=call.reports, completed=True)
        return JSONResponse(content, headers=dict(call.headers))

    def stream(self, call: Call, pieces: Sequence[Piece], end: Sequence[str], *, reports: bool) -> Response:
        """A stream of pieces, then what ends it. ``reports``: one of them holds the usage."""
        chunks = self._chunks(call, pieces, end, reports=reports and call.reports)
        return StreamingResponse(chunks, media_type="text/event-stream", headers=dict(call.headers))

    async def _chunks(
        self, call: Call, pieces: Sequence[Piece], end: Sequence[str], *, reports: bool
    ) -> AsyncIterator[str]:
        charge, whole = call.charge, call.charge.output
        cut = call.asked.cut_percent
        last = len(pieces) if cut is None else max(min(cut, 1), len(pieces) * cut // 100)
        pause = call.asked.delay_ms / 1000 / max(1, len(pieces))
        thought = whole - sum(piece.tokens for piece in pieces)
        charge.output = thought
        self.ledger.write(charge, reported=False, completed=False)
        for piece in pieces[:last]:
            if piece.tokens:
                charge.output += piece.tokens
                self.ledger.write(charge, reported=False, completed=False)
            yield piece.data
            await asyncio.sleep(pause)
        if cut is not None:
            raise CutError
        self.ledger.write(charge, reported=reports, completed=True)
        for data in end:
            yield data


def check(body: Mapping[str, Any], endpoint: Endpoint) -> None:
    """Check a body as its endpoint demands.

    Raises:
        RefusalError: in the endpoint's dialect.
    """
    dialect = endpoint.dialect
    validation.check(body, endpoint.rules, dialect)
    validation.check_messages(body, endpoint.roles, dialect)
    if not endpoint.models.fullmatch(body["model"]):
        raise unknown_model(body["model"], dialect)
    if body.get("stream_options") is not None and not body.get("stream"):
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise RefusalError(400, text, param="stream_options")
    endpoint.check(body)


def unknown_model(model: str, dialect: Dialect) -> RefusalError:
    """The refusal of a model that the double, or this endpoint of it, does not have."""
    if dialect.name == "anthropic":
        return RefusalError(404, f"model: {model}")
    text = f"The model `{model}` does not exist or you do not have access to it."
    return RefusalError(404, text, code="model_not_found")


async def read_body(request: Request, dialect: Dialect) -> dict[str, Any]:
    """The request's body, of a client that has a key.

    Raises:
        RefusalError: without a key, or when the body is not a JSON object.
    """
    if not _key(request, dialect):
        raise RefusalError(401, "no API key was given")
    if dialect.name == "anthropic" and "anthropic-version" not in request.headers:
        raise RefusalError(400, "anthropic-version: header is required")
    try:
        raw = await request.body()
        body = json.loads(raw)
        if b"\\ud" in raw.lower():
            json.dumps(
                body, ensure_ascii=False
            ).encode()  # half a character could not be repeated in an answer
    except (ValueError, RecursionError):
        raise RefusalError(400, "the body is not valid JSON") from None
    except ClientDisconnect:
        raise RefusalError(400, "the body is not complete") from None
    if not isinstance(body, dict):
        raise RefusalError(400, "the body must be a JSON object")
    return body


def refused(refusal: RefusalError, dialect: Dialect, request_id: str) -> Response:
    """A refusal in its dialect."""
    headers = {**dialect.headers, dialect.id_header: f"req_{request_id}"}
    if refusal.status == 429:
        headers["retry-after"] = str(refusal.retry_after)
    return JSONResponse(dialect.error(refusal, f"req_{request_id}"), refusal.status, headers)


class WithoutCuts(logging.Filter):
    """Keeps streams that were cut on purpose out of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is about anything else."""
        return not (record.exc_info and _is_cut(record.exc_info[1]))


def _is_cut(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_cut(inner) for inner in error.exceptions)
    return isinstance(error, CutError)


def _priced(
    charge: Charge, body: Mapping[str, Any], asked: Directives, cache: CacheUse, endpoint: Endpoint, now: int
) -> Call:
    prompt = count_prompt(body)
    by_directive = asked.cached is not None or asked.cache_write is not None
    read, written = (
        (asked.cached or 0, asked.cache_write or 0) if by_directive else (cache.read, cache.written)
    )
    charge.cached_input = min(read, prompt - 1)
    charge.cache_write = min(written, prompt - 1 - charge.cached_input)
    charge.input = prompt - charge.cached_input - charge.cache_write
    most = next((body[name] for name in endpoint.limits if body.get(name)), asked.out)
    tokens = min(asked.out, most)
    charge.output = tokens * endpoint.answers(body)
    dialect = endpoint.dialect
    headers = {**dialect.headers, dialect.id_header: f"req_{charge.request_id}_{charge.attempt}"}
    reasoning = min(asked.reasoning, tokens) if endpoint.reasons(body) else 0
    return Call(body, charge, asked, now, tokens, reasoning, asked.out > tokens, headers)


async def _until_gone(request: Request, seconds: float) -> None:
    """Wait until the client has gone, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


def _key(request: Request, dialect: Dialect | None = None) -> str:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if dialect is not None and dialect.name == "openai":
        return bearer
    return request.headers.get("x-api-key", "") or bearer


def _number(fault: Fault, name: str, default: float) -> float:
    value = fault.parameters.get(name, default)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
