"""JSON schemas of the files that configure a gateway, and how their problems are told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jsonschema

from tallygate.clock import parse_rfc3339

FORMATS: Final = jsonschema.FormatChecker(formats=())
"""``date-time`` by our own parser: the library would need another package, and without it accepts all."""
FORMATS.checks("date-time", raises=ValueError)(
    lambda value: not isinstance(value, str) or bool(parse_rfc3339(value))
)


class ConfigurationError(Exception):
    """Configuration that can't be used; carries every problem at once, each saying what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_json(path: Path, schema_name: str) -> Any:
    """The content of a JSON file that its schema accepts.

    Raises:
        ConfigurationError: when the file can't be read, is no JSON, or breaks its schema; with all problems.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror}"]) from error
    except ValueError as error:
        raise ConfigurationError([f"{path}: is not JSON: {error}"]) from error
    problems = [f"{path}: {problem}" for problem in schema_problems(content, schema_name)]
    if problems:
        raise ConfigurationError(problems)
    return content


def schema_problems(content: Any, schema_name: str) -> Iterator[str]:
    """Each way in which the content breaks the schema, with its place in the document."""
    validator = jsonschema.Draft202012Validator(schema(schema_name), format_checker=FORMATS)
    for error in sorted(validator.iter_errors(content), key=lambda e: e.json_path):
        yield f"{error.json_path}: {_message(error)}"


def _message(error: jsonschema.ValidationError) -> str:
    """The validator's words, but for a field that is forbidden beside others: those repeat the content."""
    rule = error.validator_value
    if error.validator == "not" and isinstance(rule, Mapping) and "required" in rule:
        return f"{', '.join(rule['required'])} does not go with the other fields: leave it out"
    return error.message


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of that name: ``catalogue`` or ``plans``."""
    text = resources.files("tallygate").joinpath("schema_files", f"{name}.schema.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
