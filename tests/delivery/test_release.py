"""A release is what a commit says, byte for byte, and what is in the archive runs."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from delivery import image
from delivery.archive import Archive, build_archive, functions_files
from delivery.environments import REPOSITORY, environment
from delivery.errors import CannotRunError, DeliveryError
from delivery.release import make_release
from delivery.release_file import Release, checked_release, read_release, write_release
from delivery.sbom import locked_packages
from sandbox.parts import free_port
from tests.delivery.conftest import DIGEST, Buckets, Checkout

_START_SECONDS: Final = 60


BASE_DIGEST: Final = "sha256:" + "b" * 64


def release(
    checkout: Checkout, *, publish: bool = False, keep_image: bool = True, base_image: str | None = None
) -> Release:
    target, work = environment("dev", root=checkout.root), checkout.root / "build" / "release"
    made = make_release(
        target, checkout.root, work, publish=publish, keep_image=keep_image, base_image=base_image
    )
    return made.release


def test_the_same_commit_gives_the_same_archive_whatever_the_checkout_looks_like(checkout: Checkout) -> None:
    first = build_archive(checkout.root)
    for path in checkout.root.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o600)

    again = build_archive(checkout.root)
    (checkout.root / "functions" / "left_behind.py").write_text("raise SystemExit\n")
    beside = build_archive(checkout.root)

    assert again.sha256 == beside.sha256 == first.sha256


def test_a_changed_file_gives_another_archive_under_another_name(checkout: Checkout) -> None:
    first = build_archive(checkout.root)
    main = checkout.root / "functions" / "main.py"
    main.write_text(main.read_text() + "\n# changed\n")
    checkout.commit()

    second = build_archive(checkout.root)

    assert second.sha256 != first.sha256
    assert second.object_name != first.object_name


def test_nothing_in_the_archive_depends_on_time_or_compression(checkout: Checkout) -> None:
    archive = zipfile.ZipFile(io.BytesIO(build_archive(checkout.root).content))

    entries = archive.infolist()

    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("path", ["functions/main.py", "new_file.txt"])
def test_a_dirty_tree_is_refused_by_name(path: str, checkout: Checkout) -> None:
    (checkout.root / path).write_text("# not committed\n")

    with pytest.raises(DeliveryError, match=f"dirty: commit or remove {re.escape(path)}") as refused:
        release(checkout)

    assert refused.value.exit_code == 1


def test_a_release_can_be_made_again_over_the_file_that_it_wrote(checkout: Checkout) -> None:
    assert release(checkout) == release(checkout)


def test_the_release_file_names_the_archive_by_its_hash(checkout: Checkout) -> None:
    made = release(checkout)

    recorded = read_release(checkout.folder("dev") / "release.auto.tfvars.json")
    file = checkout.root / "build" / "release" / made.archive_object

    assert recorded == made
    assert Archive(file.read_bytes()).sha256 == made.archive_sha256
    assert made.archive_sha256[:12] in made.archive_object


def test_publishing_uploads_the_archive_once(checkout: Checkout, buckets: Buckets) -> None:
    made = release(checkout, publish=True)
    release(checkout, publish=True)

    assert buckets.sha256("example-dev-functions", made.archive_object) == made.archive_sha256


def test_another_content_under_the_same_name_stops_the_release(checkout: Checkout, buckets: Buckets) -> None:
    name = build_archive(checkout.root).object_name
    buckets.objects["example-dev-functions", name] = b"not the archive"

    with pytest.raises(DeliveryError, match="not the archive that was reviewed"):
        release(checkout, publish=True)


def test_a_missing_right_is_named(checkout: Checkout, buckets: Buckets) -> None:
    buckets.shut.add("example-dev-functions")

    with pytest.raises(
        CannotRunError, match=r"needs roles/storage\.objectUser on example-dev-functions"
    ) as told:
        release(checkout, publish=True)

    assert told.value.exit_code == 2


def test_without_a_builder_nothing_is_published_unless_the_image_is_to_be_kept(
    checkout: Checkout, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = checkout.root.parent / "tools"
    tools.mkdir()
    (tools / "git").symlink_to(shutil.which("git") or "git is not on PATH")
    monkeypatch.setenv("PATH", str(tools))

    with pytest.raises(CannotRunError, match=r"docker is not on PATH; repair that, or .* IMAGE=keep"):
        release(checkout, publish=True, keep_image=False)
    assert buckets.objects == {}
    made = release(checkout, publish=True)

    assert made.image_digest == "sha256:" + "0" * 64, "the recorded digest stays"
    assert list(buckets.objects) == [("example-dev-functions", made.archive_object)]


def test_the_image_is_pushed_with_a_token_and_its_digest_recorded(
    checkout: Checkout, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker itself is not here: a stand-in notes its arguments and reports a digest as buildx does."""
    tools = _with_docker(checkout, monkeypatch)

    made = release(checkout, publish=True, keep_image=False)

    noted = (tools / "noted").read_text()
    bill = json.loads((checkout.root / "build" / "release" / "proxy.cdx.json").read_text())
    base = f"python:3.11-slim-bookworm@{BASE_DIGEST}"
    assert made.image_digest == DIGEST
    assert f"--build-arg BASE_IMAGE={base} " in noted, "what the tag means at the moment of the release"
    assert f"--label org.opencontainers.image.base.digest={BASE_DIGEST} " in noted
    (recorded,) = (part for part in bill["components"] if part["type"] == "container")
    assert recorded["version"] == BASE_DIGEST
    assert "token-of-the-pipeline" not in noted, "a token in the arguments is seen by every process"
    assert "login --username oauth2accesstoken --password-stdin europe-docker.pkg.dev" in noted
    assert "--build-arg SOURCE_DATE_EPOCH=1767323045" in noted  # the commit's time


def test_an_image_is_built_again_on_the_base_it_had(
    checkout: Checkout, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = _with_docker(checkout, monkeypatch)

    release(checkout, publish=True, keep_image=False, base_image=f"python@{BASE_DIGEST}")

    noted = (tools / "noted").read_text()
    assert f"--build-arg BASE_IMAGE=python@{BASE_DIGEST} " in noted
    assert "imagetools inspect" not in noted


@pytest.mark.parametrize(
    "base", ["python:3.11-slim", "python@sha256:abc", "--push@sha256:" + "a" * 64 + " x"]
)
def test_a_base_without_a_digest_is_refused(
    base: str, checkout: Checkout, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_docker(checkout, monkeypatch)

    with pytest.raises(DeliveryError, match="BASE_IMAGE must be an image by digest"):
        release(checkout, publish=True, keep_image=False, base_image=base)
    assert buckets.objects == {}, "nothing is half published"


def _with_docker(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stand-in for docker, which notes its arguments there."""
    tools = checkout.root.parent / "tools"
    tools.mkdir()
    fake = tools / "docker"
    fake.write_text(_DOCKER)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTED", str(tools / "noted"))
    monkeypatch.setattr("delivery.image.access_token", lambda: "token-of-the-pipeline")
    return tools


_DOCKER: Final = f"""#!/bin/sh
echo "$@" >> "$NOTED"
case "$*" in *"imagetools inspect"*) printf '{{"digest": "{BASE_DIGEST}"}}';; esac
while [ $# -gt 0 ]; do
  if [ "$1" = --metadata-file ]; then printf '{{"containerimage.digest": "{DIGEST}"}}' > "$2"; fi
  shift
done
"""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"image_digest": "v1.2.3"},
            "must be a digest .* not 'v1.2.3': a tag can come to mean another image",
        ),
        ({"image_digest": "sha256:" + "0" * 64}, "still the placeholder: run make release"),
        ({"functions_archive": {"object": "functions.zip", "sha256": "c" * 64}}, "must hold cccccccccccc"),
        ({"functions_archive": {"object": "f-c.zip", "sha256": "c"}}, "64 hexadecimal digits, not 'c'"),
        ({"functions_archive": {"object": "f-c.zip"}}, "'sha256' is missing or of another kind"),
        ({"image_tag": "latest"}, "and nothing else"),
    ],
)
def test_a_release_file_that_cannot_be_applied_says_what_to_do(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    good = {
        "image_digest": DIGEST,
        "functions_archive": {"object": "functions-cccccccccccc.zip", "sha256": "c" * 64},
    }
    path = tmp_path / "release.auto.tfvars.json"
    path.write_text(json.dumps(good | change))

    with pytest.raises(DeliveryError, match=problem):
        checked_release(path)


def test_a_release_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "release.auto.tfvars.json"
    made = Release(DIGEST, "functions-cccccccccccc.zip", "c" * 64)

    write_release(path, made)

    assert checked_release(path) == made


# --- what is in the archive runs -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the checked-out commit, unpacked as the buildpack does."""
    folder = tmp_path_factory.mktemp("archive")
    zipfile.ZipFile(io.BytesIO(build_archive(REPOSITORY).content)).extractall(folder)
    return folder


@contextmanager
def function(source: Path, name: str, folder: Path) -> Iterator[str]:
    """A function started from a folder by functions-framework, this repository not on its path; its URL."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TALLYGATE_PROJECT_ID": "test-project",
        "TALLYGATE_APP_DATABASE": f"sqlite:{folder / 'app.sqlite'}",
        "TALLYGATE_SECRETS": f"file:{folder}",
        "TALLYGATE_CATALOGUE": str(REPOSITORY / "sandbox" / "config" / "catalogue.json"),
        "TALLYGATE_PLANS": str(REPOSITORY / "sandbox" / "config" / "plans.json"),
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9",
    }
    command = [
        sys.executable, "-P", "-m", "functions_framework", "--source", "main.py", "--target", name,
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=source, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        transport = httpx.HTTPTransport(retries=8)  # with growing pauses, about half a minute in all
        with httpx.Client(transport=transport, timeout=_START_SECONDS, trust_env=False) as client:
            try:
                client.get(f"{url}/robots.txt")
            except httpx.ConnectError:
                pytest.fail(f"{name} did not start from the archive:\n{log.read_text()}")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def entry_points() -> list[str]:
    """Names of the functions in ``functions/main.py``."""
    tree = ast.parse((REPOSITORY / "functions" / "main.py").read_text())
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(decorator) == "functions_framework.http" for decorator in node.decorator_list)
    ]


@pytest.mark.parametrize("name", entry_points())
def test_a_function_starts_from_the_unpacked_archive(name: str, unpacked: Path, tmp_path: Path) -> None:
    with function(unpacked, name, tmp_path) as url:
        answer = httpx.get(url, timeout=30, trust_env=False)

    assert answer.status_code in (200, 405), answer.text  # it runs, and does nothing without a POST


def test_every_import_of_the_archive_is_in_it_or_in_its_lock(unpacked: Path) -> None:
    """The tests' environment holds more packages than the function's will."""
    locked = {package.name.lower().replace("_", "-") for package in locked_packages(
        (unpacked / "requirements.txt").read_text()
    )}  # fmt: skip
    providers = packages_distributions()
    own = {path.name.removesuffix(".py") for path in unpacked.iterdir()}

    for path in unpacked.rglob("*.py"):
        for module in _imports(ast.parse(path.read_text())):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or top in own or top == "google":  # shared by many packages
                continue
            found = {name.lower().replace("_", "-") for name in providers.get(top, [])}
            assert found & locked, (
                f"{path.relative_to(unpacked)} imports {module}, requirements/functions.txt has no {top}"
            )


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_the_archive_holds_what_the_functions_need_and_no_operator_tool(checkout: Checkout) -> None:
    files = functions_files(checkout.root)

    assert {"main.py", "requirements.txt", "tallygate/metering/sql/seal.sql"} <= set(files)
    assert not [path for path in files if path.startswith(("tallygate/cli/", "proxy/", "sandbox/"))]


# --- the image ---------------------------------------------------------------------------------------------


def test_the_image_holds_every_module_that_the_proxy_imports(tmp_path: Path) -> None:
    """Only what the Dockerfile copies, and no operator tool: every module of the proxy can be imported."""
    dockerfile = (REPOSITORY / image.DOCKERFILE).read_text()
    copied = re.findall(r"^COPY (\S+) /app/(\S+)$", dockerfile, re.MULTILINE)
    for source, target in copied:
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / target).symlink_to(REPOSITORY / source)
    modules = sorted(
        f"proxy.{path.stem}" for path in (REPOSITORY / "proxy").glob("*.py") if path.stem != "__main__"
    )
    program = f"import importlib; [importlib.import_module(name) for name in {modules!r}]"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip

    assert {target for _, target in copied} == {"proxy", "tallygate"}
    assert done.returncode == 0, done.stderr


def test_the_image_is_built_of_the_locked_packages_of_one_python(checkout: Checkout) -> None:
    dockerfile = (REPOSITORY / image.DOCKERFILE).read_text()
    lock_target = (REPOSITORY / "Makefile").read_text()

    versions = set(re.findall(r"^ARG BASE_IMAGE=python:(\d+\.\d+)-", dockerfile, re.MULTILINE))

    assert versions == {"3.11"}
    assert "--python-version 3.11" in lock_target, (
        "the Makefile locks for another Python than proxy/Dockerfile runs"
    )
    assert "--require-hashes proxy.txt" in dockerfile


# --- the bills of materials ------------------------------------------------------------------------------


@pytest.mark.parametrize(("bill", "lock"), [("functions", "functions.txt"), ("proxy", "proxy.txt")])
def test_a_bill_lists_every_locked_package_with_its_hashes(bill: str, lock: str, checkout: Checkout) -> None:
    made = release(checkout)
    text = (checkout.root / "build" / "release" / f"{bill}.cdx.json").read_text()
    content = json.loads(text)
    locked = {
        (entry.name, entry.version)
        for entry in locked_packages((REPOSITORY / "requirements" / lock).read_text())
    }

    assert {(part["name"], part["version"]) for part in content["components"]} == locked
    assert all(part["hashes"] for part in content["components"])
    if bill == "functions":
        hashes = content["metadata"]["component"]["hashes"]
        assert hashes == [{"alg": "SHA-256", "content": made.archive_sha256}]


def test_a_bill_is_the_same_for_the_same_commit(checkout: Checkout) -> None:
    path = checkout.root / "build" / "release" / "functions.cdx.json"
    release(checkout)
    first = path.read_text()
    release(checkout)

    assert path.read_text() == first


def test_a_package_without_a_hash_has_no_place_in_a_bill() -> None:
    with pytest.raises(DeliveryError, match="stripe is not locked to one version by hash: run make lock"):
        list(locked_packages("stripe==16.1.0\n"))
