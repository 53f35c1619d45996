"""``python -m tallygate``: the operators' command line."""

from __future__ import annotations

from tallygate.cli.__main__ import main

if __name__ == "__main__":
    main()
