"""The app database: tenants, Stripe customers, API keys, spend, inbox, segments, leases and watermarks.

One small document-store interface with two implementations, held to one contract suite: Firestore in Google
Cloud, SQLite in the sandbox.
"""

from tallygate.appdb.interface import (
    COLLECTIONS,
    DELETE_AT,
    EXPIRING,
    Condition,
    Database,
    DatabaseContendedError,
    DatabaseUnavailableError,
    Document,
    ReadAfterWriteError,
    Transaction,
)
from tallygate.appdb.opening import open_database

__all__ = [
    "COLLECTIONS",
    "DELETE_AT",
    "EXPIRING",
    "Condition",
    "Database",
    "DatabaseContendedError",
    "DatabaseUnavailableError",
    "Document",
    "ReadAfterWriteError",
    "Transaction",
    "open_database",
]
