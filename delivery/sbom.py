"""What is inside a release: a CycloneDX bill of materials per deployable, made of its hashed lock file."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement

from delivery.errors import DeliveryError
from delivery.sources import Commit

_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock file."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Of every file that may be installed for it."""


def locked_packages(lock: str) -> Iterator[Locked]:
    """The packages of a hashed requirements file.

    Raises:
        DeliveryError: for a package without exactly one version, or without a hash.
    """
    for text in lock.replace("\\\n", " ").splitlines():
        line = text.partition("#")[0].strip()
        if not line:
            continue
        try:
            requirement = Requirement(line.partition(" --hash")[0].strip())
        except InvalidRequirement as error:
            raise DeliveryError(f"the lock file has a line that is no requirement: {line!r}") from error
        versions = [entry.version for entry in requirement.specifier if entry.operator == "=="]
        hashes = tuple(_HASH.findall(line))
        if len(versions) != 1 or len(requirement.specifier) != 1 or not hashes:
            raise DeliveryError(f"{requirement.name} is not locked to one version by hash: run make lock")
        yield Locked(requirement.name, versions[0], hashes)


def bill_of_materials(
    name: str, commit: Commit, sha256: str | None, lock: str, *, base: str | None = None
) -> str:
    """CycloneDX JSON: the deployable, its hash where it is known, every locked package, and the base image.

    ``base``: the image by digest that it was built on.

    The same arguments give the same text: its time is the commit's, its serial number is made of the content.

    Raises:
        DeliveryError: when the lock file can't be read.
    """
    bom = Bom()
    bom.metadata.component = Component(
        name=name,
        version=commit.id,
        type=ComponentType.APPLICATION,
        bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else (),
    )
    parts = [
        Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{package.name}=={package.version}",
            purl=PackageURL("pypi", name=package.name, version=package.version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=value) for value in package.sha256],
        )
        for package in locked_packages(lock)
    ]
    if base is not None:
        parts.append(_image(base))
    bom.components.update(parts)
    bom.register_dependency(bom.metadata.component, parts)
    bom.metadata.timestamp = commit.at
    bom.serial_number = uuid.uuid5(
        uuid.NAMESPACE_URL, "\n".join([name, commit.id, sha256 or "", lock, base or ""])
    )
    text: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    return text + "\n"


def _image(base: str) -> Component:
    name, _, digest = base.partition("@")
    return Component(
        name=name,
        version=digest,
        type=ComponentType.CONTAINER,
        bom_ref=base,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))],
    )
