"""An archive of usage lines, as Cloud Logging lays it out: in a folder, or behind Cloud Storage's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tallygate.clock import parse_rfc3339

BUCKET: Final = "usage-archive"
_PAGE: Final = 1


def write_archive(folder: Path, *rows: Mapping[str, Any]) -> None:
    """Put rows of the raw table into the files of their hours, each a log entry."""
    for row in rows:
        at = parse_rfc3339(row["timestamp"])
        path = folder / "run.googleapis.com" / "stdout" / at.strftime("%Y/%m/%d")
        path.mkdir(parents=True, exist_ok=True)
        entry = {name: value for name, value in row.items() if value is not None}
        entry["resource"] = {"type": "cloud_run_revision", "labels": {"service_name": "tallygate-proxy"}}
        with (path / f"{at:%H}:00:00_{at:%H}:59:59_S0.json").open("a") as file:
            file.write(json.dumps(entry) + "\n")


@contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """Cloud Storage's JSON API over a folder, a name a page; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if not parts.path.startswith(f"/storage/v1/b/{BUCKET}/o"):
                self._answer(403, b"{}")
                return
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if query.get("alt") == "media":
                self._answer(200, (folder / unquote(parts.path.rpartition("/o/")[2])).read_bytes())
            else:
                self._answer(200, json.dumps(self._listed(query)).encode())

        def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
            every = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))
            names = [name for name in every if name.startswith(query["prefix"])]
            start = int(query.get("pageToken", 0))
            found: dict[str, Any] = {"items": [{"name": name} for name in names[start : start + _PAGE]]}
            if start + _PAGE < len(names):
                found["nextPageToken"] = str(start + _PAGE)
            return found

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
