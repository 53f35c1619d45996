"""Moments at which something about an object is due. One per kind and object: the newest wish counts."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.stripe.store import Store


@dataclass(frozen=True, slots=True)
class Timer:
    """What is due, about which object, and when (seconds since the epoch)."""

    kind: str
    object_id: str
    due: int


def set_timer(store: Store, kind: str, object_id: str, due: int | None) -> None:
    """Set, move or (None) take away the timer of a kind for an object."""
    if due is None:
        store.execute("DELETE FROM timers WHERE kind = ? AND object = ?", kind, object_id)
    else:
        store.execute("INSERT OR REPLACE INTO timers VALUES (?, ?, ?)", kind, object_id, due)


def next_timer(store: Store) -> Timer | None:
    """The timer that is due first."""
    row = store.execute("SELECT * FROM timers ORDER BY due_at, rowid LIMIT 1").fetchone()
    return None if row is None else Timer(row["kind"], row["object"], row["due_at"])
