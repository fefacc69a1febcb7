"""Checks of a configuration's fields: each raises a ConfigError that begins with the field's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import ConfigError

_UNITS: Final = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "m": 1 << 20,
    "mib": 1 << 20,
    "g": 1 << 30,
    "gib": 1 << 30,
}


def check_name(at: str, name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
        raise ConfigError(f"{at}: {name!r} is not a name of letters, digits, _ and -")


def check_integer(at: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{at}: {value!r} is not an integer in [{low}, {high}]")


def check_plru(at: str, replacement: str, assoc: int) -> None:
    if replacement == "plru" and (assoc > 64 or assoc & (assoc - 1)):
        raise ConfigError(f"{at}.assoc: {assoc} ways have no binary tree: plru needs a power of two up to 64")


def check_known(at: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{at or 'hierarchy'}: {table!r} is not a table")
    names = tuple(known)
    for key in table:
        if key not in names:
            raise ConfigError(f"{at}{'.' if at else ''}{key}: unknown; known here are {', '.join(names)}")


def check_unique(kind: str, names: list[str]) -> None:
    for n in names:
        if names.count(n) > 1:
            raise ConfigError(f"{kind}.{n}: the name is used twice")


def cycles_of_ns(at: str, ns: Any, both: bool, ghz: float | None) -> int:
    if both:
        raise ConfigError(f"{at}: latency is given too")
    if ghz is None:
        raise ConfigError(f"{at}: needs core.frequency_ghz")
    if not isinstance(ns, int | float) or isinstance(ns, bool) or not 0 <= ns < 1e6:
        raise ConfigError(f"{at}: {ns!r} is not a number of nanoseconds")
    return round(ns * ghz)


def bytes_of_text(at: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    m = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", value)
    if m is None or m[2].lower() not in _UNITS:
        raise ConfigError(f"{at}: {value!r} is not a size such as 32KiB")
    return int(m[1]) * _UNITS[m[2].lower()]
