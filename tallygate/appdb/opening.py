"""Opens the app database that a setting names."""

from __future__ import annotations

from pathlib import Path

from tallygate.appdb.interface import Database


def open_database(setting: str, *, project_id: str) -> Database:
    """The database that ``TALLYGATE_APP_DATABASE`` names: ``firestore:<database>`` or ``sqlite:<path>``.

    Raises:
        ValueError: for anything else.
    """
    kind, _, name = setting.partition(":")
    if kind == "sqlite" and name:
        from tallygate.appdb.sqlite import SQLiteDatabase

        return SQLiteDatabase(Path(name))
    if kind == "firestore" and name:
        from tallygate.appdb.firestore import FirestoreDatabase

        return FirestoreDatabase(project_id=project_id, database=name)
    raise ValueError(
        f"TALLYGATE_APP_DATABASE must be 'firestore:<database>' or 'sqlite:<path>', not {setting!r}"
    )
