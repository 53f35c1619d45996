"""``tallygate secrets``: put a value where the gateway reads it, and see which values there are."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson, Yes, confirm
from tallygate.cli.secret_store import SecretState, SecretStore, store_for
from tallygate.cli.tables import Format, written, written_one
from tallygate.secrets import (
    CLOUDEVENTS_TOKEN,
    STRIPE_API_KEY,
    STRIPE_WEBHOOK_SECRET,
    FileSecrets,
    Secrets,
    secrets_from,
)
from tallygate.settings import Environment

app = typer.Typer(no_args_is_help=True)

_COLUMNS: Final = ("name", "exists", "values", "newest", "newest_at")
_FORMS: Final = {STRIPE_API_KEY: ("sk_", "rk_"), STRIPE_WEBHOOK_SECRET: ("whsec_",)}
"""How values of a secret begin: a value in the wrong place is noticed before it is used."""
_LONGEST: Final = 64 * 1024
"""Bytes that a version of Secret Manager holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    secrets: Secrets
    catalogue: Path | None


@app.callback()
def group() -> None:
    """Values go in and never come out."""


@app.command("set")
def set_value(
    name: Annotated[str, typer.Argument(help="As list shows it.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Add a value, read from standard input, as the newest one of a secret.

    The functions read Stripe's secrets when they are called. A provider's key is used from the deployment on
    that names its version.
    """
    settings = _settings()
    names = secret_names(settings.catalogue)
    if name not in names:
        raise OperatorError(f"there is no secret {name!r}: there are {', '.join(names)}")
    store = store_for(settings.secrets)
    before = store.state(name)
    if before.versions:
        confirm(f"{name} has {len(before.versions)} value(s) already. Add a newer one?", yes=yes)
    version = store.add(name, _value(name))
    shown = {"name": name, "version": version}
    print(written_one(shown, f"{name} has a new value, version {version}", as_json=as_json))


@app.command("list")
def list_states(as_json: AsJson = False) -> None:
    """The secrets that the gateway reads, and how many values each has. No value is read.

    Exit code 1 when one has no value.
    """
    settings = _settings()
    states = _states(store_for(settings.secrets), secret_names(settings.catalogue))
    rows = [_row(state) for state in states]
    print(written(rows, _COLUMNS, Format.JSON if as_json else Format.TABLE))
    missing = [state.name for state in states if not state.versions and state.name != CLOUDEVENTS_TOKEN]
    if missing:
        raise OperatorError(
            f"without a value: {', '.join(missing)}; for each: tallygate secrets set NAME < value"
        )


def secret_names(catalogue: Path | None) -> list[str]:
    """Ids of the secrets: Stripe's two, the token of another usage sink, and a key for each provider.

    ``catalogue``: its models name the environment variables of their keys; OPENAI_API_KEY is the secret
    openai-api-key, as ``modules/stack/secrets.tf`` has it.

    Raises:
        OperatorError: when the catalogue can't be read.
    """
    names = {STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET, CLOUDEVENTS_TOKEN}
    if catalogue is not None:
        try:
            content: Any = json.loads(catalogue.read_text(encoding="utf-8"))
            models = content["models"].values()
            variables = {model["api_key_env"] for model in models if "api_key_env" in model}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise OperatorError(f"{catalogue} can't be read: {error}: mend TALLYGATE_CATALOGUE") from error
        names |= {variable.lower().replace("_", "-") for variable in variables}
    return sorted(names)


def _row(state: SecretState) -> dict[str, Any]:
    newest = state.versions[0] if state.versions else None
    return asdict(state) | {"values": len(state.versions), "newest": newest}


def _states(store: SecretStore, names: Sequence[str]) -> list[SecretState]:
    return [store.state(name) for name in names]


def _value(name: str) -> str:
    text = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read(_LONGEST + 1)
    value = text.strip()
    if not value:
        raise OperatorError(f"nothing came on standard input: tallygate secrets set {name} < value")
    if "\n" in value or not value.isprintable() or len(value.encode()) > _LONGEST:
        raise OperatorError("the value must be one line of text")
    forms = _FORMS.get(name)
    if forms is not None and not value.startswith(forms):
        raise OperatorError(f"a value of {name} begins with {' or '.join(forms)}: nothing was added")
    return value


def _settings() -> _Settings:
    environment = Environment()
    project_id = environment.text("TALLYGATE_PROJECT_ID")
    no_secrets: Secrets = FileSecrets(folder=Path())
    settings = _Settings(
        secrets=environment.parsed(
            "TALLYGATE_SECRETS",
            partial(secrets_from, project_id=project_id),
            default="google",
            empty=no_secrets,
        ),
        catalogue=environment.parsed("TALLYGATE_CATALOGUE", Path, empty=None),
    )
    environment.check()
    return settings
