"""What the demo asks for: a list of requests drawn from a seed, and what must come of each."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Call = Literal["chat", "tools", "completion", "embedding", "responses", "messages"]
Ending = Literal["success", "failure", "disconnect"]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request."""

    name: str
    call: Call
    model: str
    stream: bool = False
    ending: Ending = "success"
    directives: str = ""
    """What the provider double is told inside the prompt; ``{out}`` and ``{cached}`` are drawn."""
    estimated: bool = False
    """The provider does not report the counts that are billed."""
    attempts: int = 1
    """Provider calls it takes; 0: refused by the gateway."""
    killed: bool = False
    """The instance is killed meanwhile: the request is admitted and leaves no usage event."""


_OUT = "[[out={out}]]"
_SLOW = "[[out={out} delay_ms=400]]"
_OPENAI: Final = (
    Case("chat", "chat", "gpt-4o-mini", directives=_OUT),
    Case("chat, streamed", "chat", "gpt-4o-mini", stream=True, directives=_OUT),
    Case("cached prompt", "chat", "gpt-4o-mini", directives="[[out={out} cached={cached}]]"),
    Case("reasoning", "chat", "gpt-4o-mini", stream=True, directives="[[out={out} reasoning=7]]"),
    Case("tools", "tools", "gpt-4o-mini", directives=_OUT),
    Case("tools, streamed", "tools", "gpt-4.1-mini", stream=True, directives=_OUT),
    Case("embedding", "embedding", "text-embedding-3-small"),
    Case("responses", "responses", "gpt-4o-mini", directives=_OUT),
    Case("responses, streamed", "responses", "gpt-4.1-mini", stream=True, directives=_OUT),
    Case("retry", "chat", "gpt-4.1-mini", directives="[[out={out} fail=429x1]]", attempts=2),
    Case("fallback", "chat", "gpt-4o-mini", directives="[[out={out} fail=500x3]]", attempts=4),
    Case("failure", "chat", "gpt-4.1-mini", ending="failure", directives="[[fail=500x9]]", attempts=3),
    Case("disconnect", "chat", "gpt-4o-mini", stream=True, ending="disconnect", directives=_SLOW),
    Case("no usage", "chat", "gpt-4.1-mini", directives="[[out={out} no_usage]]", estimated=True),
    Case(
        "no usage, streamed", "chat", "gpt-4.1-mini", stream=True,
        directives="[[out={out} no_usage]]", estimated=True,
    ),
    Case(
        "cut stream", "chat", "gpt-4.1-mini", stream=True, ending="failure",
        directives="[[out=60 cut=40% delay_ms=300]]", estimated=True,
    ),
)  # fmt: skip
_COMPLETIONS: Final = (
    Case("completion", "completion", "gpt-3.5-turbo-instruct", directives=_OUT),
    Case("completion, streamed", "completion", "gpt-3.5-turbo-instruct", stream=True, directives=_OUT),
)
_ANTHROPIC: Final = (
    Case("messages", "messages", "claude-haiku-4-5", directives=_OUT),
    Case("messages, streamed", "messages", "claude-sonnet-4-6", stream=True, directives=_OUT),
    Case("cache write", "messages", "claude-sonnet-4-6", directives="[[out={out} cache_write={cached}]]"),
    Case(
        "cache read, streamed", "messages", "claude-haiku-4-5", stream=True,
        directives="[[out={out} cached={cached}]]",
    ),
    Case(
        "messages, retry", "messages", "claude-haiku-4-5", directives="[[out={out} fail=500x1]]", attempts=2,
    ),
    Case(
        "messages, disconnect", "messages", "claude-haiku-4-5", stream=True, ending="disconnect",
        directives=_SLOW,
    ),
    Case("messages by OpenAI's client", "chat", "claude-haiku-4-5", directives=_OUT),
)  # fmt: skip

CASES: Final[Mapping[str, tuple[Case, ...]]] = {
    "starter": _OPENAI,
    "team": (*_OPENAI, *_COMPLETIONS),
    "scale": (*_OPENAI, *_COMPLETIONS, *_ANTHROPIC),
}
"""What a tenant of each plan asks for."""

_FREQUENT: Final = frozenset({"chat", "chat, streamed", "messages", "messages, streamed", "embedding"})
_WORDS: Final = ["ledger", "meter", "invoice", "token", "hour", "seal", "proof", "tenant", "gateway", "price"]


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the demo."""

    number: int
    tenant_id: str
    case: Case
    prompt: str

    @property
    def idempotency_key(self) -> str:
        """Sent by the client, carried by the usage event: finds the event of a request without answer."""
        return f"demo-{self.number:04}"


def script(plans: Mapping[str, str], *, seed: int, requests: int) -> list[Step]:
    """Steps for the tenants (tenant → plan), at least ``requests``, every case of each plan included."""
    draw = random.Random(seed)
    wanted: list[tuple[str, Case]] = [
        (tenant, case) for tenant, plan in plans.items() for case in CASES[plan]
    ]
    while len(wanted) < requests:
        tenant = draw.choice(sorted(plans))
        frequent = [case for case in CASES[plans[tenant]] if case.name in _FREQUENT]
        rest = CASES[plans[tenant]]
        wanted.append((tenant, draw.choice(frequent if draw.random() < 0.7 else rest)))
    draw.shuffle(wanted)
    return [
        Step(number, tenant, case, _prompt(case, draw))
        for number, (tenant, case) in enumerate(wanted, start=1)
    ]


def _prompt(case: Case, draw: random.Random) -> str:
    words = " ".join(draw.choices(_WORDS, k=draw.randint(3, 60)))
    directives = case.directives.format(out=draw.randint(2, 220), cached=draw.randint(1, 40))
    return f"{directives} {words}".strip()
