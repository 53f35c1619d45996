"""Google's own emulator of Firestore, as a process group of this test run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sandbox.parts import free_port

START_SECONDS: Final = 60
MISSING: Final = (
    "the Firestore emulator is missing: install google-cloud-cli, google-cloud-cli-firestore-emulator and a "
    "Java runtime (the emulator is not published in a package registry, so nothing here can install it)"
)


def installed() -> bool:
    """Whether gcloud, its emulator and Java are on this machine."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return False
    sdk = Path(gcloud).resolve().parent.parent
    return (sdk / "platform" / "cloud-firestore-emulator").is_dir()


@contextmanager
def firestore_emulator(folder: Path) -> Iterator[str]:
    """A running emulator; its ``host:port``. ``folder`` takes its log and gcloud's own files.

    ``gcloud`` starts a shell that starts Java; all of them are one process group, ended together.
    """
    address = f"127.0.0.1:{free_port()}"
    log = folder / "firestore-emulator.log"
    environment = {**os.environ, "CLOUDSDK_CONFIG": str(folder), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["gcloud", "emulators", "firestore", "start", f"--host-port={address}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_port(process, address, log)
        yield address
    finally:
        _end_group(process)


def _await_port(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            pass
        else:
            return
        said = log.read_text(errors="replace")
        assert process.poll() is None, f"the Firestore emulator ended with {process.returncode}:\n{said}"
        assert time.monotonic() < deadline, f"the Firestore emulator did not start:\n{said}"
        time.sleep(0.1)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group: the Java process outlives gcloud when only that is ended."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
