"""What the proxy needs from its environment, read once at start; all problems in one error."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from proxy.vertex import Place, may_serve
from proxy.wire import on_loopback
from tallygate.appdb import Database, open_database
from tallygate.catalogue import Catalogue, load_catalogue
from tallygate.clock import Clock, SystemClock, clock_from
from tallygate.schemas import ConfigurationError
from tallygate.settings import Environment

CallbackFault = Literal["", "raise", "never", "late"]
_NO_FAULT: Final[CallbackFault] = ""
_MIB: Final = 2**20
GOOGLE_CERTIFICATES: Final = "https://www.googleapis.com/oauth2/v1/certs"
"""Google's certificates for identity tokens, in PEM by key id."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one instance."""

    host: str
    port: int
    project_id: str
    clock: Clock
    catalogue: Catalogue
    database: Database
    key_cache_seconds: int
    max_body_bytes: int
    concurrency: int
    """Requests that the platform sends to one instance at once."""
    tenant_share_percent: int
    grace_seconds: int
    """How long running requests may take after SIGTERM: Cloud Run kills after ten seconds, and two are kept
    for what was used and spent to be written."""
    iam_enforced: bool
    """The platform's invoker check is on: what it has verified is believed."""
    iam_audiences: tuple[str, ...]
    """Of identity tokens that are verified here; none: they are not taken."""
    iam_certificates_url: str
    vertex: Place | None
    """None: no model of the catalogue is of Vertex AI."""
    callback_fault: CallbackFault
    """Adds a broken LiteLLM callback, to show that billing does not depend on one."""


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        ConfigurationError: with everything that is missing or bad, the catalogue's problems included.
    """
    environment = Environment()
    system: Clock = SystemClock()
    clock = environment.parsed("TALLYGATE_CLOCK", clock_from, default="system", empty=system)
    project_id = environment.text("TALLYGATE_PROJECT_ID")
    catalogue = Catalogue(models={})
    if path := environment.text("TALLYGATE_CATALOGUE"):
        try:
            catalogue = load_catalogue(Path(path), now=clock.now())
        except ConfigurationError as error:
            environment.add_problems(list(error.problems))
    environment.add_problems(_missing_keys(catalogue))
    fault = environment.parsed("TALLYGATE_FAULT_CALLBACK", _callback_fault, default="", empty=_NO_FAULT)
    if fault and not all(on_loopback(model.api_base) for model in catalogue.models.values()):
        environment.add_problems(
            ["TALLYGATE_FAULT_CALLBACK: only for doubles: every model's api_base must be on this machine"]
        )
    database = environment.parsed(
        "TALLYGATE_APP_DATABASE", lambda text: open_database(text, project_id=project_id), empty=None
    )
    settings = Settings(
        host=environment.text("TALLYGATE_HOST", default="0.0.0.0"),
        port=environment.number("PORT", default=8080, minimum=1, maximum=65535),
        project_id=project_id,
        clock=clock,
        catalogue=catalogue,
        database=cast("Database", database),
        key_cache_seconds=environment.number("TALLYGATE_KEY_CACHE_SECONDS", default=30, maximum=300),
        max_body_bytes=environment.number("TALLYGATE_MAX_BODY_BYTES", default=20 * _MIB, maximum=32 * _MIB),
        concurrency=environment.number("TALLYGATE_CONCURRENCY", default=80, minimum=1, maximum=1000),
        tenant_share_percent=environment.number(
            "TALLYGATE_TENANT_SHARE_PERCENT", default=50, minimum=1, maximum=100
        ),
        iam_enforced=environment.flag("TALLYGATE_IAM_ENFORCED", default=False),
        iam_audiences=environment.parsed("TALLYGATE_IAM_AUDIENCES", _words, default="", empty=()),
        iam_certificates_url=environment.parsed(
            "TALLYGATE_IAM_CERTIFICATES_URL", _certificates_url, default=GOOGLE_CERTIFICATES, empty=""
        ),
        vertex=_vertex(environment, project_id, catalogue),
        callback_fault=fault,
        grace_seconds=environment.number("TALLYGATE_GRACE_SECONDS", default=8, minimum=1, maximum=3600),
    )
    environment.check()
    return settings


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _certificates_url(text: str) -> str:
    """Who serves the certificates decides who is let in."""
    if text.startswith("https://") or on_loopback(text):
        return text
    raise ValueError("must start with https://")


def _missing_keys(catalogue: Catalogue) -> list[str]:
    """The provider keys that the catalogue names and the environment lacks."""
    wanted = {model.api_key_env: model.name for model in catalogue.models.values() if model.api_key_env}
    return [
        f"{variable}: is missing: model {model!r} of the catalogue needs it"
        for variable, model in sorted(wanted.items())
        if not os.environ.get(variable)
    ]


def _vertex(environment: Environment, project_id: str, catalogue: Catalogue) -> Place | None:
    """Where models of Vertex AI are called, if the catalogue has one."""
    location = environment.parsed("TALLYGATE_VERTEX_LOCATION", _location, default="", empty="")
    if not may_serve(catalogue.models.values()):
        return None
    if not location:
        environment.add_problems(
            ["TALLYGATE_VERTEX_LOCATION: is missing: a model is of Vertex AI; write global, or a region"]
        )
    return Place(project_id, location)


def _location(text: str) -> str:
    """It becomes part of a host's name."""
    if re.fullmatch(r"|[a-z]+(-[a-z]+[0-9]+)?", text):
        return text
    raise ValueError(f"must be global, a multi-region or a region, for example europe-west4, not {text!r}")


def _callback_fault(text: str) -> CallbackFault:
    if text in ("", "raise", "never", "late"):
        return cast("CallbackFault", text)
    raise ValueError(f"must be 'raise', 'never' or 'late', not {text!r}")
