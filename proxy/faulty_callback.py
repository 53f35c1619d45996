"""A LiteLLM callback that misbehaves on purpose: billing must not depend on any callback.

Only ``TALLYGATE_FAULT_CALLBACK`` installs it, in tests and in the demo.
"""

from __future__ import annotations

import asyncio
from typing import Any

from litellm.integrations.custom_logger import CustomLogger


class FaultyCallback(CustomLogger):  # type: ignore[misc]
    """Raises, never ends, or ends late, as asked."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self._fault = fault

    async def async_log_success_event(self, *_: Any, **__: Any) -> None:
        """Called in LiteLLM's background worker after an answer."""
        await self._misbehave()

    async def async_log_failure_event(self, *_: Any, **__: Any) -> None:
        """Called in LiteLLM's background worker after a failure."""
        await self._misbehave()

    async def _misbehave(self) -> None:
        if self._fault == "raise":
            raise RuntimeError("the callback was asked to raise")
        await asyncio.sleep(5 if self._fault == "late" else 3600)
