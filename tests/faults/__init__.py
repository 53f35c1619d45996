"""Seeded months under faults: doubled = 0, lost = 0, and all else as an oracle says. See README.md."""
