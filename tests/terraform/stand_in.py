"""A stand-in for a Terraform provider: the plugin protocol, version 6, over a recorded schema.

The schema is what ``terraform providers schema -json`` prints for the real provider, without its prose.
Terraform itself checks a configuration against it: unknown arguments and blocks, types, required attributes,
references. This process hands the schema over and plans "what is written; what the provider computes is
unknown". It creates nothing: applying is refused. What it can't know: rules about values (lengths,
enumerations, formats), and defaults that the provider fills in.

Messages are encoded by hand, because the protocol uses only two kinds of protobuf field.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import msgpack

JSON = dict[str, Any]
Handler = Callable[[bytes], bytes]
Field = tuple[int, "int | str | bytes | None"]

_UNKNOWN: Final = msgpack.ExtType(0, b"\0")
"""How Terraform writes "known after apply"."""
_NESTING: Final = {"single": 1, "list": 2, "set": 3, "map": 4, "group": 5}
_ERROR: Final = 1


class StandIn:
    """One provider, served from its recorded schema.

    ``types``: the resources and data sources that are served; others are unknown. Terraform reads all of them
    at every command.
    """

    def __init__(self, recording: Path, types: Collection[str]) -> None:
        document = json.loads(gzip.decompress(recording.read_bytes()))
        ((self.address, self._recorded),) = document["provider_schemas"].items()
        for kind in ("resource_schemas", "data_source_schemas", "ephemeral_resource_schemas"):
            recorded = self._recorded.get(kind, {})
            self._recorded[kind] = {name: entry for name, entry in recorded.items() if name in types}
        self._schema = self._encode_schema()

    def handlers(self) -> dict[str, Handler]:
        """RPC name → function from the request's bytes to the response's."""
        refused = _diagnostic("Stand-in provider", "It serves a recorded schema and creates nothing.")
        return {
            "GetProviderSchema": lambda _: self._schema,
            "ValidateProviderConfig": lambda _: b"",
            "ValidateResourceConfig": self._validate("resource_schemas"),
            "ValidateDataResourceConfig": self._validate("data_source_schemas"),
            "ValidateEphemeralResourceConfig": self._validate("ephemeral_resource_schemas"),
            "ConfigureProvider": lambda _: b"",
            "StopProvider": lambda _: b"",
            "UpgradeResourceState": lambda request: _message((1, _message((2, _inner(request, 3, 1))))),
            "ReadResource": lambda request: _message((1, _decode(request).get(2))),
            "PlanResourceChange": self._plan,
            "ApplyResourceChange": lambda request: _message((1, _decode(request).get(2)), (3, refused)),
            "CallFunction": lambda _: _message((1, _pack(_UNKNOWN))),
            "ReadDataSource": lambda request: _message((1, self._read(request, "data_source_schemas"))),
            "OpenEphemeralResource": lambda r: _message((3, self._read(r, "ephemeral_resource_schemas"))),
            "CloseEphemeralResource": lambda _: b"",
        }

    def _encode_schema(self) -> bytes:
        def entries(number: int, kind: str, encode: Callable[[JSON], bytes]) -> list[Field]:
            recorded = self._recorded.get(kind, {})
            return [(number, _message((1, name), (2, encode(entry)))) for name, entry in recorded.items()]

        return _message(
            (1, _schema(self._recorded["provider"])),
            *entries(2, "resource_schemas", _schema),
            *entries(3, "data_source_schemas", _schema),
            *entries(7, "functions", _function),
            *entries(8, "ephemeral_resource_schemas", _schema),
            (6, _message((2, 1))),  # capability: plan_destroy
        )

    def _block(self, kind: str, name: bytes) -> JSON:
        block: JSON = self._recorded[kind][name.decode()]["block"]
        return block

    def _validate(self, kind: str) -> Handler:
        def validate(request: bytes) -> bytes:
            fields = _decode(request)
            found = _problems(self._block(kind, fields[1]), _unpack(fields[2]), ())
            return _message(*((1, _diagnostic(*problem)) for problem in found))

        return validate

    def _plan(self, request: bytes) -> bytes:
        fields = _decode(request)
        proposed, is_new = _unpack(fields[3]), _unpack(fields[2]) is None
        return _message((1, _pack(_planned(self._block("resource_schemas", fields[1]), proposed, is_new))))

    def _read(self, request: bytes, kind: str) -> bytes:
        fields = _decode(request)
        value = _unpack(fields[2])
        for name, attribute in self._block(kind, fields[1])["attributes"].items():
            if attribute.get("computed") and value[name] is None and "type" in attribute:
                value[name] = _made_up(attribute["type"], f"{fields[1].decode()}.{name}")
        return _pack(value)


@contextmanager
def served(provider: StandIn) -> Iterator[dict[str, str]]:
    """Serve on a socket; the environment variables by which Terraform uses it."""
    with tempfile.TemporaryDirectory(prefix="stand-in-") as folder:
        socket = f"{folder}/provider.sock"
        server = grpc.server(ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers(
            (
                _handlers("tfplugin6.Provider", provider.handlers()),
                _handlers("plugin.GRPCController", {"Shutdown": lambda _: b""}),
            )
        )
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        where = {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "unix", "String": socket},
        }
        try:
            yield {"TF_REATTACH_PROVIDERS": json.dumps({provider.address: where})}
        finally:
            server.stop(None).wait()


def _handlers(service: str, handlers: Mapping[str, Handler]) -> Any:
    def wrap(handler: Handler) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: handler(request))

    methods = {name: wrap(handler) for name, handler in handlers.items()}
    return grpc.method_handlers_generic_handler(service, methods)


# Protobuf's wire format: varints and length-delimited fields.


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _message(*fields: Field) -> bytes:
    """Encode (number, value) pairs; empty values are protobuf's defaults and left out."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += _varint(number << 3) + _varint(value) if value else b""
        elif value:
            data = value.encode() if isinstance(value, str) else value
            encoded += _varint(number << 3 | 2) + _varint(len(data)) + data
        elif value == b"":  # an empty message is present all the same
            encoded += _varint(number << 3 | 2) + b"\0"
    return encoded


def _decode(data: bytes) -> dict[int, bytes]:
    """Length-delimited fields by number; of a repeated field the last one."""
    fields: dict[int, bytes] = {}
    at = 0

    def read_varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        key, number = read_varint(), read_varint()
        if key & 7 == 2:
            fields[key >> 3] = data[at : at + number]
            at += number
        elif key & 7:
            raise ValueError(f"wire type {key & 7} is not used by this protocol")
    return fields


def _inner(request: bytes, outer: int, inner: int) -> bytes | None:
    return _decode(_decode(request)[outer]).get(inner)


def _pack(value: Any) -> bytes:
    return _message((1, msgpack.packb(value)))


def _unpack(dynamic: bytes) -> Any:
    raw = _decode(dynamic).get(1, b"\xc0")
    return msgpack.unpackb(raw, ext_hook=lambda code, data: _UNKNOWN, strict_map_key=False)


def _diagnostic(summary: str, detail: str, path: Sequence[str | int] = ()) -> bytes:
    # an index is written even when it is 0: its presence tells it from a name
    steps = [(1, b"\x18" + _varint(p) if isinstance(p, int) else _message((1, p))) for p in path]
    return _message((1, _ERROR), (2, summary), (3, detail), (4, _message(*steps)))


# The recorded schema as protocol messages.


def _schema(recorded: JSON) -> bytes:
    return _message((1, recorded.get("version", 0)), (2, _encode_block(recorded["block"])))


def _encode_block(block: JSON) -> bytes:
    return _message(
        *((2, _attribute(name, entry)) for name, entry in block.get("attributes", {}).items()),
        *((3, _block_type(name, entry)) for name, entry in block.get("block_types", {}).items()),
        (6, int(block.get("deprecated", False))),
    )


def _block_type(name: str, entry: JSON) -> bytes:
    limits = (4, entry.get("min_items", 0)), (5, entry.get("max_items", 0))
    return _message(
        (1, name), (2, _encode_block(entry["block"])), (3, _NESTING[entry["nesting_mode"]]), *limits
    )


def _attribute(name: str, entry: JSON) -> bytes:
    nested = entry.get("nested_type")
    flags = {4: "required", 5: "optional", 6: "computed", 7: "sensitive", 9: "deprecated", 11: "write_only"}
    return _message(
        (1, name),
        (2, None if nested else json.dumps(entry["type"], separators=(",", ":"))),
        *((number, int(entry.get(flag, False))) for number, flag in flags.items()),
        (10, None if nested is None else _nested(nested)),
    )


def _nested(nested: JSON) -> bytes:
    attributes: list[Field] = [(1, _attribute(name, entry)) for name, entry in nested["attributes"].items()]
    return _message(*attributes, (3, _NESTING[nested["nesting_mode"]]))


def _function(recorded: JSON) -> bytes:
    def parameter(entry: JSON) -> bytes:
        return _message(
            (1, entry["name"]), (2, json.dumps(entry["type"])), (3, int(entry.get("is_nullable", 0)))
        )

    variadic = recorded.get("variadic_parameter")
    return _message(
        *((1, parameter(entry)) for entry in recorded.get("parameters", [])),
        (2, None if variadic is None else parameter(variadic)),
        (3, _message((1, json.dumps(recorded["return_type"])))),
    )


# Values.


def _problems(
    block: JSON, value: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """The two checks of a value that Terraform leaves to every provider."""
    if not isinstance(value, dict):
        return
    for name, attribute in block.get("attributes", {}).items():
        if value[name] is None and attribute.get("required"):
            yield "Missing required argument", f'The argument "{name}" must not be null.', (*path, name)
        elif value[name] not in (None, [], {}) and not (
            attribute.get("required") or attribute.get("optional")
        ):
            detail = f'Can\'t configure a value for "{name}": the provider decides it.'
            yield "Value for unconfigurable attribute", detail, (*path, name)
    for name, entry in block.get("block_types", {}).items():
        for step, inner in _members(entry, value[name]):
            yield from _problems(entry["block"], inner, (*path, name, *step))


def _members(entry: JSON, value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, list):
        yield from (((number,), inner) for number, inner in enumerate(value))
    elif entry["nesting_mode"] == "map" and isinstance(value, dict):
        yield from (((key,), inner) for key, inner in value.items())
    else:
        yield (), value


def _planned(block: JSON, value: Any, is_new: bool) -> Any:
    """The proposed value, with what the provider computes unknown and write-only values taken out."""
    if not isinstance(value, dict):
        return value
    plan = dict(value)
    for name, attribute in block.get("attributes", {}).items():
        if attribute.get("write_only"):
            plan[name] = None
        elif is_new and attribute.get("computed") and plan[name] is None:
            plan[name] = _UNKNOWN
    for name, entry in block.get("block_types", {}).items():
        inner = plan[name]
        if isinstance(inner, list):
            plan[name] = [_planned(entry["block"], member, is_new) for member in inner]
        elif entry["nesting_mode"] == "map" and isinstance(inner, dict):
            plan[name] = {key: _planned(entry["block"], member, is_new) for key, member in inner.items()}
        else:
            plan[name] = _planned(entry["block"], inner, is_new)
    return plan


def _made_up(type_: Any, label: str) -> Any:
    """A known value of a type, for what a data source would have read."""
    if not isinstance(type_, list):
        return {"number": 0, "bool": False}.get(type_, f"stub:{label}")
    kind, inner = type_
    if kind == "object":
        return {name: _made_up(member, f"{label}.{name}") for name, member in inner.items()}
    if kind == "tuple":
        return [_made_up(member, label) for member in inner]
    return {} if kind == "map" else []
