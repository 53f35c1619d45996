"""The catalogue: exact prices, and every problem told at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.catalogue import Catalogue, Price, load_catalogue, usd
from tallygate.records import TokenCounts
from tallygate.schemas import ConfigurationError
from tests.tallygate.configuration import NOW, model, price, write

tokens = st.integers(0, 10**9)
picos = st.integers(0, 10**12)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

VERTEX: dict[str, Any] = {
    "provider": "vertex_ai", "provider_model": "gemini-2.5-flash", "api_key_env": None,
}  # fmt: skip


def load(folder: Path, **models: Any) -> Catalogue:
    return load_catalogue(write(folder / "catalogue.json", {"models": models}), now=NOW)


def problems(folder: Path, **models: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(folder, **models)
    return "\n".join(raised.value.problems)


@given(
    counts=st.builds(TokenCounts, tokens, tokens, tokens, tokens), rates=st.tuples(picos, picos, picos, picos)
)
def test_a_cost_is_exact_then_rounded_once_half_up(counts: TokenCounts, rates: tuple[int, ...]) -> None:
    by_class = (counts.input, counts.cached_input, counts.cache_write, counts.output)
    exact = sum(
        (Fraction(count * rate, 1000) for count, rate in zip(by_class, rates, strict=True)), Fraction()
    )
    expected = (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(Decimal(1), ROUND_HALF_UP)

    cost = Price("v", EPOCH, *rates).cost_nano_usd(counts)

    assert cost == int(expected)
    assert abs(cost - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(("pico", "nano"), [(0, 0), (499, 0), (500, 1), (1499, 1), (1500, 2), (2500, 3)])
def test_half_a_nano_rounds_up(pico: int, nano: int) -> None:
    assert Price("v", EPOCH, pico, 0, 0, 0).cost_nano_usd(TokenCounts(input=1)) == nano


def test_classes_are_summed_before_rounding() -> None:
    quarter = Price("v", EPOCH, 250, 250, 250, 250)

    assert quarter.cost_nano_usd(TokenCounts(1, 1, 1, 1)) == 1


@given(counts=st.builds(TokenCounts, tokens, tokens, tokens, tokens), reasoning=tokens)
def test_reasoning_is_part_of_the_output_and_not_charged_again(counts: TokenCounts, reasoning: int) -> None:
    same = TokenCounts(counts.input, counts.cached_input, counts.cache_write, counts.output, reasoning)
    rates = Price("v", EPOCH, 3, 5, 7, 11)

    assert rates.cost_nano_usd(counts) == rates.cost_nano_usd(same)


@given(st.integers(0, 10**18))
def test_usd_is_the_exact_decimal(nano: int) -> None:
    text = usd(nano)

    assert Decimal(text) * 10**9 == nano
    assert "E" not in text.upper()
    assert not text.endswith(".")


def test_usd_reads_well() -> None:
    assert [usd(n) for n in (0, 1, 1_500_000, 10**9, 10 * 10**9)] == ["0", "0.000000001", "0.0015", "1", "10"]


def test_the_price_in_force_is_the_newest_that_has_begun(tmp_path: Path) -> None:
    later = price("2026-02", "2026-02-01T01:00:00+01:00", input=1)
    served = load(tmp_path, small=model(prices=[later, price()])).models["small"]
    change = datetime(2026, 2, 1, tzinfo=UTC)

    def version(moment: datetime) -> str | None:
        found = served.price_at(moment)
        return found.price_version if found else None

    assert version(change) == "2026-02"
    assert version(change - timedelta(microseconds=1)) == "2026-01"
    assert version(EPOCH) == "2026-01"
    assert version(EPOCH - timedelta(microseconds=1)) is None


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    served = load(tmp_path, small=model()).models["small"]

    assert (served.timeout_seconds, served.retries, served.fallbacks, served.api_base) == (600, 2, (), None)


def test_every_problem_of_every_model_is_told_at_once(tmp_path: Path) -> None:
    text = problems(
        tmp_path,
        early=model(prices=[price(effective_from="2026-04-01T00:00:00Z")]),
        twins=model(prices=[price(), price()]),
        lost=model(fallbacks=["nobody", "lost", "vectors"]),
        vectors=model(mode="embedding", max_output_tokens=0),
    )

    assert "model 'early': no price is in force: give one whose effective_from" in text
    assert "model 'twins': two prices share a price_version" in text
    assert "model 'twins': two prices start at the same moment" in text
    assert "model 'lost': falls back to 'nobody', which is not in the catalogue" in text
    assert "model 'lost': falls back to itself" in text
    assert "model 'lost': falls back to 'vectors', whose mode is embedding, not chat" in text
    assert all(str(tmp_path / "catalogue.json") in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prices": []}, "prices"),
        ({"prices": [price(input=-1)]}, "-1 is less than the minimum"),
        ({"prices": [price(input=1.5)]}, "1.5 is not of type 'integer'"),
        ({"prices": [price(effective_from="2026-01-01T00:00:00")]}, "effective_from"),
        ({"prices": [price(effective_from="2026-13-01T00:00:00Z")]}, "is not a 'date-time'"),
        ({"provider": "nobody"}, "'nobody' is not one of"),
        ({"api_key_env": "sk-secret"}, "api_key_env"),
        ({"api_key_env": None}, "'api_key_env' is a required property"),
        ({"provider": "vertex_ai"}, "api_key_env does not go with the other fields: leave it out"),
        ({**VERTEX, "provider_model": "claude-sonnet-4"}, "does not match '^gemini-'"),
        ({**VERTEX, "mode": "embedding"}, "'chat' was expected"),
        ({"max_output_tokens": None}, "'max_output_tokens' is a required property"),
        ({"currency": "EUR"}, "'currency' was unexpected"),
        ({"api_base": "ftp://x"}, "api_base"),
        ({"retries": 99}, "99 is greater than the maximum"),
    ],
    ids=str,
)
def test_the_schema_s_problems_name_their_place(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    text = problems(tmp_path, small=model(**change))

    assert words in text
    assert "$.models.small" in text


def test_two_broken_models_are_two_problems(tmp_path: Path) -> None:
    text = problems(tmp_path, one=model(provider="nobody"), two=model(retries=-1))

    assert "$.models.one" in text
    assert "$.models.two" in text


def test_a_file_that_is_missing_or_no_json_is_told_by_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for path, words in ((tmp_path / "none.json", "can't be read: No such file"), (broken, "is not JSON")):
        with pytest.raises(ConfigurationError, match=words) as raised:
            load_catalogue(path, now=NOW)
        assert str(path) in str(raised.value)


def test_a_model_of_vertex_ai_has_no_key(tmp_path: Path) -> None:
    loaded = load(tmp_path, gemini=model(**VERTEX)).models["gemini"]

    assert (loaded.provider, loaded.api_key_env) == ("vertex_ai", None)


def test_a_claude_does_not_fall_back_to_vertex_ai(tmp_path: Path) -> None:
    """A request that Vertex AI may serve carries no marks of Anthropic's prompt cache."""
    text = problems(
        tmp_path, claude=model(provider="anthropic", fallbacks=["gemini"]), gemini=model(**VERTEX)
    )

    assert "falls back to 'gemini' of Vertex AI, which would cost its prompt caching" in text
