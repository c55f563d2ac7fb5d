"""Frozen dataclasses to JSON values and back, by their type hints; every fault is named by its path in the document."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Union, cast, get_args, get_origin, get_type_hints


class CodecError(ValueError):
    """A JSON value that does not fit the dataclass; the text names the path and both types."""


def encode(value: object) -> Any:
    """The JSON value of a dataclass, mapping, tuple or scalar; fields that are None are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: encode(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, tuple):
        return [encode(item) for item in cast("tuple[object, ...]", value)]
    return value


def decode(kind: Any, value: object, path: str = "") -> Any:
    """A value of a declared type from JSON. Raises CodecError for an unknown or missing key or another type."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _decode_dataclass(kind, value, path)
    origin = get_origin(kind)
    if origin in (types.UnionType, Union):
        inner = [option for option in get_args(kind) if option is not types.NoneType]
        return None if value is None else decode(inner[0], value, path)
    if origin is tuple:
        return _decode_tuple(get_args(kind), value, path)
    if origin is not None and issubclass(origin, Mapping):
        return {key: decode(get_args(kind)[1], item, f"{path}.{key}") for key, item in _object(value, path).items()}
    return _decode_scalar(kind, value, path)


@cache
def _hints(kind: Callable[..., Any]) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _decode_dataclass(kind: Any, value: object, path: str) -> Any:
    given, hints = _object(value, path), _hints(kind)
    known: tuple[Field[Any], ...] = fields(kind)
    names = {field.name for field in known}
    unknown = sorted(set(given) - names)
    if unknown:
        raise CodecError(f"key '{_join(path, unknown[0])}' is unknown")
    for field in known:
        if field.name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise CodecError(f"key '{_join(path, field.name)}' is missing")
    return kind(**{name: decode(hints[name], item, _join(path, name)) for name, item in given.items()})


def _decode_tuple(kinds: tuple[Any, ...], value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise CodecError(f"key '{path}' must be a list, is {type(value).__name__}")
    items = cast("list[object]", value)
    return tuple(decode(kinds[0], item, f"{path}[{index}]") for index, item in enumerate(items))


def _decode_scalar(kind: type, value: object, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise CodecError(f"key '{path}' must be {kind.__name__}, is {type(value).__name__}")
    return value


def _object(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise CodecError(f"key '{path or '(root)'}' must be an object, is {type(value).__name__}")
    return cast("dict[str, object]", value)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
