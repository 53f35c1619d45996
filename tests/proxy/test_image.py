"""The image, without a container engine: its Dockerfile carried out in an empty folder, and started there."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sandbox.layout import REPOSITORY
from sandbox.parts import free_port
from tests.support.dockerfile import Image, Instruction, carry_out, located, parse, shell
from tests.support.gateway import Instance, Site, await_ready

DOCKERFILE = REPOSITORY / "proxy" / "Dockerfile"
IGNORED = REPOSITORY / "proxy" / "Dockerfile.dockerignore"
CACHE_FLAGS = re.compile(r" --no-cache(-dir)?\b")


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    return parse(DOCKERFILE)


def named(instructions: list[Instruction], name: str) -> list[str]:
    return [instruction.text for instruction in instructions if instruction.name == name]


def test_every_stage_stands_on_the_one_base_that_an_argument_names(instructions: list[Instruction]) -> None:
    assert [text.partition(" AS ")[0] for text in named(instructions, "FROM")] == ["${BASE_IMAGE}"] * 2
    (argument,) = named(instructions, "ARG")
    assert argument.startswith("BASE_IMAGE=python:3.11")


def test_packages_are_installed_by_hash_only(instructions: list[Instruction]) -> None:
    installs = re.findall(r"(?:pip install|pip sync)[^&]*", " ".join(named(instructions, "RUN")))

    assert len(installs) == 2
    assert all("--require-hashes" in install for install in installs)


def test_everything_is_compiled_and_nothing_is_written_at_run_time(instructions: list[Instruction]) -> None:
    runs = " && ".join(named(instructions, "RUN"))

    assert re.findall(r"compileall [^&]* (/venv/lib|/app)\b", runs) == ["/venv/lib", "/app"]
    assert "PYTHONDONTWRITEBYTECODE=1" in " ".join(named(instructions, "ENV"))


def test_it_runs_as_nobody_by_number(instructions: list[Instruction]) -> None:
    """A name would need a look-up that the platform's check of non-root can't make."""
    (user,) = named(instructions, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_what_is_copied_is_let_through_by_the_ignore_file(instructions: list[Instruction]) -> None:
    let_through = {line[1:] for line in IGNORED.read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for text in named(instructions, "COPY")
        if not text.startswith("--from=")
        for source in text.split()[:-1]
    }

    assert copied == let_through, f"{DOCKERFILE} and {IGNORED} differ"
    assert all((REPOSITORY / source).exists() for source in copied)


def test_the_image_serves_a_completion_and_writes_nothing(
    instructions: list[Instruction], provider_site: Site, tmp_path: Path
) -> None:
    """The packages are this environment's: installing them anew takes minutes and is the long test's."""

    def run(image: Image, command: str) -> None:
        for part in command.split(" && "):
            if "compileall" in part and "/venv/" in part:
                continue
            if "uv.txt" not in part and "uv pip sync" not in part:
                shell(image, part.replace("python -m venv", "python -m venv --without-pip"))
        packages = image.root / "venv" / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        if packages.is_dir():
            (packages / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")

    _serves(carry_out(instructions, REPOSITORY, tmp_path, run), provider_site)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_image_serves_a_completion_with_the_packages_of_its_lock(
    instructions: list[Instruction], provider_site: Site, tmp_path: Path
) -> None:
    """As the Dockerfile says, but for its flags against caches: they would fetch the same hashes again."""
    image = carry_out(
        instructions, REPOSITORY, tmp_path, lambda image, command: shell(image, CACHE_FLAGS.sub("", command))
    )

    assert not (image.root / "venv/lib/python3.11/site-packages/pytest").exists()
    _serves(image, provider_site)


def _serves(image: Image, site: Site) -> None:
    before = _listing(image.root)
    with _started(image, site) as instance:
        await_ready(instance)
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        headers = {"x-api-key": site.keys["acme"]}
        answer = httpx.post(f"{instance.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        assert instance.event_of(answer.headers["x-request-id"])["status"] == "success"
        assert instance.end() == 0
    assert _listing(image.root) == before


@contextmanager
def _started(image: Image, site: Site) -> Iterator[Instance]:
    """The image's command, with its variables, in its folder, and nothing of the repository on the path."""
    port = free_port()
    variables = {name: located(image, value) for name, value in image.variables.items()}
    path = variables.pop("PATH").replace("$PATH", os.environ["PATH"])
    settings = {
        name: value
        for name, value in site.environment(port).items()
        if name.startswith(("TALLYGATE_", "OPENAI_", "ANTHROPIC_")) or name == "PORT"
    }
    out, err = image.root.parent / "stdout", image.root.parent / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            image.command,
            executable=str(image.path("/venv/bin/python")),
            env={"PATH": path, "HOME": "/nonexistent", **variables, **settings},
            cwd=image.path("."),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield Instance(process, f"http://127.0.0.1:{port}", out, err)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _listing(root: Path) -> set[tuple[str, int]]:
    """Every file with its time of change: what a read-only file system would not have let happen shows."""
    return {
        (str(path.relative_to(root)), path.lstat().st_mtime_ns) for path in root.rglob("*") if path.is_file()
    }
