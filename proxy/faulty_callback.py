"""A LiteLLM callback that misbehaves on purpose: billing must not depend on any callback.

Only ``TALLYGATE_FAULT_CALLBACK`` installs it, in tests and in the demo; the settings refuse it unless every
model is a double on this machine.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

LATE_SECONDS: Final = 3.5


def install(fault: str) -> None:
    """Break callbacks: ``raise``, ``late``, or ``never`` (LiteLLM's worker drops what it should run)."""
    litellm.callbacks.append(_Callback(fault))
    if fault == "never":
        GLOBAL_LOGGING_WORKER.enqueue = _drop
        GLOBAL_LOGGING_WORKER.ensure_initialized_and_enqueue = _drop


def _drop(*positional: Any, **named: Any) -> None:
    for coroutine in (*positional, *named.values()):
        coroutine.close()


class _Callback(CustomLogger):  # type: ignore[misc]
    def __init__(self, fault: str) -> None:
        super().__init__()
        self._fault = fault

    async def async_log_success_event(self, *_: Any, **__: Any) -> None:
        """Called in LiteLLM's background worker after an answer."""
        await self._misbehave()

    async def async_log_failure_event(self, *_: Any, **__: Any) -> None:
        """Called by LiteLLM before it goes on after a failure: the request waits for it."""
        await self._misbehave()

    async def _misbehave(self) -> None:
        if self._fault == "raise":
            raise RuntimeError("the callback was asked to raise")
        if self._fault == "late":
            await asyncio.sleep(LATE_SECONDS)
