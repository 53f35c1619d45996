"""A small checkout of its own for tests that commit, release and promote; a double of Cloud Storage."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from rich.console import Console

from delivery.archive import Archive, build_archive
from delivery.environments import ORDER, REPOSITORY
from delivery.release_file import Release, write_release
from sandbox.demo.__main__ import own_sandbox
from sandbox.demo.collect import Connections
from sandbox.demo.display import Display
from sandbox.layout import Layout

DIGEST: Final = "sha256:" + "ab" * 32
_COPIED: Final = (
    "functions", "tallygate", "proxy", "requirements", "sandbox/config/catalogue.json",
    "sandbox/config/plans.json", ".gitignore",
)  # fmt: skip
_VALUES: Final = """
project_id = "example-{name}"
artifacts = {{
  functions_bucket = "example-{name}-functions"
  image_repository = "europe-docker.pkg.dev/example-{name}/tallygate"
}}
places = {{
  regions = {{ europe-west1 = {{}} }}
}}
secret_versions = {{ openai-api-key = "1" }}
"""


_ROOT: Final = """
terraform {{
  backend "local" {{}}
}}
variable "image_digest" {{ type = string }}
variable "functions_archive" {{ type = object({{ object = string, sha256 = string }}) }}
variable "project_id" {{ type = string }}
variable "artifacts" {{ type = any }}
variable "places" {{ type = any }}
variable "secret_versions" {{ type = any }}
resource "terraform_data" "service" {{ input = var.image_digest }}
resource "terraform_data" "{name}" {{ input = var.functions_archive.sha256 }}
"""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A git repository with the deployables' sources and three environments."""

    root: Path

    def git(self, *arguments: str) -> str:
        """Run git there, as somebody, at a fixed time."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
            "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
        }
        who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        done = subprocess.run(
            ["git", *who, *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def commit(self, subject: str = "Change something") -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", subject)

    def folder(self, environment: str) -> Path:
        """The folder of an environment."""
        return self.root / "terraform" / environment


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """This repository's deployables, committed in a repository of their own: each test gets a copy."""
    made = Checkout(tmp_path_factory.mktemp("committed") / "checkout")
    made.root.mkdir()
    made.git("init", "--quiet", "--initial-branch", "main")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *_COPIED],
        cwd=REPOSITORY, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (made.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, made.root / name)
    for name in ORDER:
        folder = made.folder(name)
        folder.mkdir(parents=True)
        (folder / "terraform.tfvars").write_text(_VALUES.format(name=name))
        write_release(
            folder / "release.auto.tfvars.json", Release("sha256:" + "0" * 64, "x-000000000000", "0" * 64)
        )
        for file in ("catalogue.json", "plans.json"):
            shutil.copyfile(made.root / "sandbox" / "config" / file, folder / file)
    made.commit("Start")
    return made


@pytest.fixture
def checkout(committed: Checkout, tmp_path: Path) -> Checkout:
    """This repository's deployables in a repository of their own, committed."""
    return _copy(committed, tmp_path)


def _copy(made: Checkout, folder: Path) -> Checkout:
    shutil.copytree(made.root, folder / "checkout")
    return Checkout(folder / "checkout")


@dataclass
class Buckets:
    """What the double of Cloud Storage holds, and which buckets it keeps shut."""

    url: str = ""
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    shut: set[str] = field(default_factory=set)

    def sha256(self, bucket: str, name: str) -> str:
        """Hash of an object."""
        return hashlib.sha256(self.objects[bucket, name]).hexdigest()


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Buckets]:
    """Cloud Storage's JSON API as far as it is used: media upload with a precondition, media download."""
    held = Buckets()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            bucket, name = self._bucket(), unquote(urlsplit(self.path).path.rpartition("/o/")[2])
            content = held.objects.get((bucket, name))
            if bucket in held.shut:
                self._answer(403, b"{}")
            elif content is None:
                self._answer(404, b"{}")
            else:
                self._answer(200, content)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            query = parse_qs(urlsplit(self.path).query)
            key = self._bucket(), query["name"][0]
            if key[0] in held.shut:
                self._answer(403, b"{}")
            elif key in held.objects and query.get("ifGenerationMatch") == ["0"]:
                self._answer(412, b"{}")
            else:
                held.objects[key] = content
                self._answer(200, json.dumps({"name": key[1]}).encode())

        def _bucket(self) -> str:
            return urlsplit(self.path).path.partition("/b/")[2].partition("/")[0]

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", held.url)
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass(frozen=True, slots=True)
class Released:
    """A checkout with roots and a release, and the release's archive."""

    checkout: Checkout
    archive: Archive


@pytest.fixture(scope="session")
def released(committed: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """What each test's site is a copy of."""
    checkout = _copy(committed, tmp_path_factory.mktemp("released"))
    archive = build_archive(checkout.root)
    for name in ("dev", "staging", "prod"):
        write_root(checkout, name, "archive")
        (checkout.folder(name) / "backend.hcl").write_text(f'path = "../../../{name}.tfstate"\n')
    (checkout.root / "modules").mkdir()
    (checkout.root / "modules" / "README").write_text("modules\n")
    with (checkout.root / ".gitignore").open("a") as ignored:
        ignored.write(".terraform.lock.hcl\n")
    release(checkout, "dev", Release(DIGEST, archive.object_name, archive.sha256))
    release(checkout, "prod", Release(DIGEST, archive.object_name, archive.sha256))
    checkout.commit("Add roots and a release")
    return Released(checkout, archive)


@pytest.fixture
def site(released: Released, buckets: Buckets, tmp_path: Path) -> Checkout:
    """A checkout whose environments Terraform can plan and apply, with a release made for dev."""
    archive = released.archive
    for name in ("dev", "staging", "prod"):
        buckets.objects[f"example-{name}-functions", archive.object_name] = archive.content
    return _copy(released.checkout, tmp_path)


def write_root(checkout: Checkout, name: str, resource: str) -> None:
    (checkout.folder(name) / "main.tf").write_text(_ROOT.format(name=resource))


def release(checkout: Checkout, name: str, made: Release) -> None:
    write_release(checkout.folder(name) / "release.auto.tfvars.json", made)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connections]:
    """One sandbox for this folder's tests: they leave its tenants and jobs working."""
    layout = Layout(tmp_path_factory.mktemp("delivery") / "root")
    with own_sandbox(Display(Console(quiet=True)), layout) as connections:
        yield connections
