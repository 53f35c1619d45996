"""When signing secrets are read again: a rotation needs no restart, a forger costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from tallygate.subscriptions.signature import KEPT_SECONDS, SignatureError, SigningSecrets, verify
from tests.support.stripe_events import sign, snapshot

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Store:
    """Secrets that change and count how often they are read."""

    values: list[str] = field(default_factory=lambda: ["whsec_1"])
    reads: int = 0

    def newest(self, name: str, count: int = 1) -> list[str]:
        self.reads += 1
        return self.values[:count]


@dataclass
class Seconds:
    at: float = 0.0

    def __call__(self) -> float:
        return self.at


def accepts(secrets: SigningSecrets, secret: str) -> bool:
    try:
        verify(snapshot(), sign(snapshot(), NOW, secret), secrets, NOW)
    except SignatureError:
        return False
    return True


def test_secrets_are_kept_for_a_while() -> None:
    store, seconds = Store(), Seconds()
    secrets = SigningSecrets(store, seconds)

    for at in (0.0, 1.0, KEPT_SECONDS - 1):
        seconds.at = at
        assert accepts(secrets, "whsec_1")

    assert store.reads == 1
    seconds.at = KEPT_SECONDS
    assert accepts(secrets, "whsec_1")
    assert store.reads == 2


def test_a_new_secret_is_taken_at_once() -> None:
    store, seconds = Store(), Seconds()
    secrets = SigningSecrets(store, seconds)
    assert accepts(secrets, "whsec_1")
    store.values = ["whsec_2", "whsec_1"]
    seconds.at = 1.0

    assert accepts(secrets, "whsec_2")
    assert accepts(secrets, "whsec_1")
    assert store.reads == 2


def test_forged_signatures_read_the_secret_once_a_second() -> None:
    store, seconds = Store(), Seconds()
    secrets = SigningSecrets(store, seconds)
    accepts(secrets, "whsec_1")

    for number in range(1000):
        seconds.at = 1.0 + number / 1000  # one second in all
        assert not accepts(secrets, "whsec_forged")

    assert store.reads == 2


def test_a_third_secret_is_not_taken() -> None:
    secrets = SigningSecrets(Store(["whsec_3", "whsec_2", "whsec_1"]), Seconds())

    assert accepts(secrets, "whsec_2")
    assert not accepts(secrets, "whsec_1")


def test_one_of_two_signatures_is_enough() -> None:
    secrets = SigningSecrets(Store(), Seconds())
    header = sign(snapshot(), NOW, "whsec_unknown", "whsec_1")

    verify(snapshot(), header, secrets, NOW)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_signature_holds_for_five_minutes(seconds: int) -> None:
    header = sign(snapshot(), datetime.fromtimestamp(NOW.timestamp() + seconds, UTC), "whsec_1")

    verify(snapshot(), header, SigningSecrets(Store(), Seconds()), NOW)
