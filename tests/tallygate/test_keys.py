"""API keys: recognisable, self-checking, never shown again."""

from __future__ import annotations

import string

from hypothesis import assume, given
from hypothesis import strategies as st

from tallygate import keys

ALPHABET = string.digits + string.ascii_letters
minted = st.builds(keys.mint)


@given(minted)
def test_a_minted_key_is_well_formed_and_known_by_its_hash(key: keys.MintedKey) -> None:
    assert keys.well_formed(key.secret)
    assert key.secret.startswith(keys.PREFIX)
    assert len(key.secret) == keys.KEY_LENGTH
    assert key.key_hash == keys.key_hash(key.secret)
    assert key.key_id == keys.key_id(key.key_hash)


def test_keys_differ() -> None:
    assert len({keys.mint().secret for _ in range(1000)}) == 1000


@given(minted, st.integers(0, keys.KEY_LENGTH - 1), st.sampled_from(ALPHABET))
def test_one_changed_character_is_noticed(key: keys.MintedKey, position: int, character: str) -> None:
    assume(key.secret[position] != character)
    changed = key.secret[:position] + character + key.secret[position + 1 :]

    assert not keys.well_formed(changed)


@given(minted, st.integers(len(keys.PREFIX), keys.KEY_LENGTH - 2))
def test_two_swapped_neighbours_are_noticed(key: keys.MintedKey, at: int) -> None:
    assume(key.secret[at] != key.secret[at + 1])
    swapped = key.secret[:at] + key.secret[at + 1] + key.secret[at] + key.secret[at + 2 :]

    assert not keys.well_formed(swapped)


@given(st.text(alphabet=ALPHABET, min_size=44, max_size=44))
def test_random_text_behind_the_prefix_is_refused(body: str) -> None:
    """One in 4 billion would pass; a fixed seed of such a text would be a finding."""
    assert not keys.well_formed(keys.PREFIX + body)


@given(st.text(max_size=100))
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert not keys.well_formed(text)
    assert not keys.well_formed(keys.PREFIX + text)


@given(minted, st.sampled_from(["", " ", "\n", "0"]))
def test_more_or_less_than_a_key_is_no_key(key: keys.MintedKey, end: str) -> None:
    assert not keys.well_formed(key.secret[:-1] + end)
    assert not keys.well_formed(key.secret + (end or "x"))


@given(minted)
def test_the_secret_shows_in_no_representation_and_no_public_id(key: keys.MintedKey) -> None:
    body = key.secret[len(keys.PREFIX) :]

    assert body not in repr(key)
    assert body not in key.key_id + key.key_hash
    assert key.key_hash[:16] not in key.key_id
