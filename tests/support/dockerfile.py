"""Carries out a Dockerfile in a folder, without a container engine.

Only the instructions that this repository uses are known; another one is an error, so that a Dockerfile can't
grow past what is tested. A path of the image (``/app``) is that path under the folder.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_INSTRUCTION: Final = re.compile(r"([A-Z]+)\s+(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continuation lines joined and its comments left out."""

    name: str
    text: str


@dataclass(slots=True)
class Image:
    """What a stage has made."""

    root: Path
    workdir: str = "/"
    variables: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    command: list[str] = field(default_factory=list)

    def path(self, inside: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.root / os.path.normpath(os.path.join(self.workdir, inside)).lstrip("/")


def parse(dockerfile: Path) -> list[Instruction]:
    """The instructions in order."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [_INSTRUCTION.fullmatch(line.strip()) for line in joined.splitlines() if line.strip()]
    assert all(found), joined
    return [Instruction(match.group(1), match.group(2).strip()) for match in found if match]


def carry_out(
    instructions: list[Instruction], context: Path, folder: Path, run: Callable[[Image, str], None]
) -> Image:
    """The last stage's image; ``run`` does what a RUN instruction says."""
    stages: dict[str, Image] = {}
    image: Image | None = None
    for number, instruction in enumerate(instructions):
        if instruction.name == "ARG":
            continue
        if instruction.name == "FROM":
            name = instruction.text.partition(" AS ")[2] or f"stage-{number}"
            image = stages[name] = Image(folder / name)
            image.root.mkdir()
            continue
        assert image is not None, "an instruction before FROM"
        _apply(instruction, image, context, stages, run)
    assert image is not None
    return image


def shell(image: Image, command: str) -> None:
    """Run a command as the image's shell would, on the image's paths."""
    path = f"{located(image, image.variables.get('PATH', ''))}:{os.environ['PATH']}"
    environment = {**os.environ, **image.variables, "PATH": path}
    done = subprocess.run(
        ["sh", "-ec", located(image, command)],
        cwd=image.path("."),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def located(image: Image, text: str) -> str:
    """A text with the image's absolute paths turned into those of this machine."""
    tops = sorted({path.name for path in image.root.iterdir()} | {"venv", "app", "build"})
    return re.sub(rf"(?<![\w./-])/(?=(?:{'|'.join(tops)})\b)", f"{image.root}/", text)


def _apply(
    instruction: Instruction,
    image: Image,
    context: Path,
    stages: Mapping[str, Image],
    run: Callable[[Image, str], None],
) -> None:
    text = instruction.text
    if instruction.name == "WORKDIR":
        image.workdir = os.path.join(image.workdir, text)
        image.path(".").mkdir(parents=True, exist_ok=True)
    elif instruction.name == "COPY":
        _copy(shlex.split(text), image, context, stages)
    elif instruction.name == "RUN":
        run(image, text)
    elif instruction.name == "ENV":
        image.variables |= dict(pair.split("=", 1) for pair in shlex.split(text))
    elif instruction.name == "USER":
        image.user = text
    elif instruction.name == "CMD":
        image.command = json.loads(text)
    else:
        raise AssertionError(f"{instruction.name} is not carried out here: teach tests/support/dockerfile.py")


def _copy(words: list[str], image: Image, context: Path, stages: Mapping[str, Image]) -> None:
    origin = context
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    for source in sources:
        found = origin / source.lstrip("/")
        into = image.path(target) / found.name if target.endswith("/") else image.path(target)
        into.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(found, into, symlinks=True, ignore=ignored if origin == context else None)
        else:
            shutil.copy2(found, into)
