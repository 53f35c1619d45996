"""Where a sandbox keeps what: one folder, made anew at each start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PROJECT_ID: Final = "tallygate-sandbox"
DATASET_RAW: Final = "usage_raw"
DATASET_LEDGER: Final = "ledger"
STRIPE_API_KEY: Final = "sk_test_sandbox"
"""The double takes any test key; this one opens nothing else."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one sandbox."""

    root: Path

    @property
    def state(self) -> Path:
        """What other tools read: URLs, tenants, pids."""
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        """Held while a sandbox runs here."""
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        """What the proxies and the edge write; the log router reads it."""
        return self.root / "logs"

    @property
    def part_logs(self) -> Path:
        """What every other part prints."""
        return self.root / "parts"

    @property
    def clock(self) -> Path:
        """Offset of the sandbox's clock to the machine's."""
        return self.root / "clock"

    @property
    def app_database(self) -> Path:
        """The SQLite app database."""
        return self.root / "app.sqlite"

    @property
    def secrets(self) -> Path:
        """Stands in for Secret Manager: one file a secret."""
        return self.root / "secrets"

    @property
    def catalogue(self) -> Path:
        """The catalogue with ``api_base`` set to the provider double."""
        return self.root / "catalogue.json"

    @property
    def plans(self) -> Path:
        """The plans in use."""
        return self.root / "plans.json"

    def of(self, part: str) -> Path:
        """A part's own state."""
        return self.root / "state" / part


def default_layout() -> Layout:
    """The sandbox of this checkout."""
    return Layout(REPOSITORY / ".sandbox")
