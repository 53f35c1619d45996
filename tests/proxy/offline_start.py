"""Runs the gateway and notes every address that it looks up or connects to: for ``test_network.py``.

Uvloop resolves and connects outside Python, where no audit hook sees it: asyncio's own loop stands in.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
import types
from typing import Any

noted = os.open(os.environ["NOTED"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Write down where a connection or a look-up goes."""
    address: Any = None
    if event == "socket.getaddrinfo":
        address = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        address = arguments[1][0]
    if address is not None:
        os.write(noted, f"{event} {address}\n".encode())


uvloop = types.ModuleType("uvloop")
uvloop.new_event_loop = asyncio.new_event_loop  # type: ignore[attr-defined]
sys.modules["uvloop"] = uvloop
sys.addaudithook(note)
runpy.run_module("proxy", run_name="__main__", alter_sys=True)
