"""Which lines the code writes, read from its syntax tree: names of events, and reasons of failures."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from tests.terraform.conftest import REPOSITORY

FOLDERS: Final = ("proxy", "tallygate", "functions")


@cache
def _trees() -> dict[Path, ast.Module]:
    files = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return {path.relative_to(REPOSITORY): ast.parse(path.read_text()) for path in files}


def event_names() -> dict[str, Path]:
    """Every name that a log line may carry as ``event``, with the file that writes it.

    Found as the first argument of ``emit``, as the value of a dictionary's ``event`` (literally, by a
    module's constant, or by a field whose type is a ``Literal``, as in ``finding.kind`` with a class
    ``Finding``), and as a constant named ``…_EVENT``.
    """
    records = Path("tallygate/records.py")
    found = {t: records for name, texts in _constants().items() if name.endswith("_EVENT") for t in texts}
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            for written in _event_expressions(node):
                texts = _texts(written)
                if isinstance(node, ast.Call):
                    texts = texts or _from_table(written, tree)
                found |= dict.fromkeys(texts, path)
    return found


def severe_events() -> set[str]:
    """Names of the events that functions write with the severity ``ERROR``, always or sometimes."""
    return {
        name
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _name(node.func) == "emit" and len(node.args) > 1
        if "ERROR" in {c.value for c in ast.walk(node.args[1]) if isinstance(c, ast.Constant)}
        for name in _texts(node.args[0]) or _from_table(node.args[0], tree)
    }


def error_types() -> set[str]:
    """Every reason that a usage event of a failure may carry as ``error_type``."""
    found: set[str] = set()
    for path, tree in _trees().items():
        if path.parts[0] != "proxy":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                if _name(node.func) == "ApiError" and len(node.args) > 1:
                    found |= set(_texts(node.args[1]))
                keywords = [k for k in node.keywords if k.arg in ("error", "error_type")]
                found |= {text for keyword in keywords for text in _texts(keyword.value)}
            if isinstance(node, ast.Assign) and [_name(target) for target in node.targets] == ["code"]:
                found |= set(_texts(node.value))
    return found


def literal(path: str, name: str) -> set[str]:
    """The values of ``name = Literal[...]`` in a file."""
    for node in _trees()[Path(path)].body:
        if isinstance(node, ast.Assign) and [_name(target) for target in node.targets] == [name]:
            return {str(c.value) for c in ast.walk(node.value) if isinstance(c, ast.Constant)}
    raise AssertionError(f"{path} has no {name}")


def _event_expressions(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call) and _name(node.func) == "emit" and node.args:
        yield node.args[0]
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "event":
                yield value


def _texts(written: ast.expr) -> list[str]:
    """The texts that an expression can be."""
    if isinstance(written, ast.Constant):
        return [written.value] if isinstance(written.value, str) else []
    if isinstance(written, ast.IfExp):
        return [*_texts(written.body), *_texts(written.orelse)]
    if isinstance(written, ast.BoolOp):
        return [text for value in written.values for text in _texts(value)]
    if isinstance(written, ast.Name):
        return _constants().get(written.id, [])
    if isinstance(written, ast.Attribute):
        return _literal_fields().get((_name(written.value), written.attr), [])
    return []


def _from_table(written: ast.expr, tree: ast.Module) -> list[str]:
    """The texts that a variable can be where its module has tables of them: first in a tuple, by whatever."""
    if not isinstance(written, ast.Name) or written.id.isupper():
        return []
    tables = [n.value for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.value, ast.Dict)]
    rows = [value for table in tables for value in table.values if isinstance(value, ast.Tuple)]
    return [text for row in rows if row.elts for text in _texts(row.elts[0])]


@cache
def _constants() -> dict[str, list[str]]:
    """Constants of modules, in capitals, whose value is a text."""
    found: dict[str, list[str]] = {}
    for tree in _trees().values():
        for node in tree.body:
            target = node.target if isinstance(node, ast.AnnAssign) else None
            value = node.value if isinstance(node, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and target.id.isupper() and isinstance(value, ast.Constant):
                found.setdefault(target.id, []).extend(_texts(value))
    return found


@cache
def _literal_fields() -> dict[tuple[str, str], list[str]]:
    """Fields whose type is a ``Literal`` that their module names, by class (in small letters) and name."""
    found: dict[tuple[str, str], list[str]] = {}
    for tree in _trees().values():
        aliases = {
            _name(node.targets[0]): node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Subscript)
            and _name(node.value.value) == "Literal"
        }
        for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            for node in owner.body:
                if not isinstance(node, ast.AnnAssign) or not isinstance(node.annotation, ast.Name):
                    continue
                values = aliases.get(node.annotation.id)
                if values is not None:
                    texts = [str(c.value) for c in ast.walk(values) if isinstance(c, ast.Constant)]
                    found[owner.name.lower(), _name(node.target)] = texts
    return found


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
