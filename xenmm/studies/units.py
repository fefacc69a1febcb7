"""Sizes as people type them: ``3T``, ``1.5 GiB``, ``2^42``, ``0x1000``; units are binary."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from ..constants import U64_END
from ..errors import ConfigError

_SHIFTS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_SIZE: Final = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?)\s*([KMGTPE]?)(IB|B)?", re.IGNORECASE)
_POWER: Final = re.compile(r"2\s*(?:\^|\*\*)\s*([0-9]{1,3})")
_HEX: Final = re.compile(r"0x[0-9a-f](?:_?[0-9a-f]+)*", re.IGNORECASE)


def parse_size(name: str, text: str | int) -> int:
    """Read a size in bytes.

    Parameters
    ----------
    name : str
        What it is for: errors begin with it.
    text : str or int
        Digits with an optional unit from K to E (also KiB ...), ``2^N``, or ``0x...``; an int is bytes.

    Returns
    -------
    int
        From 0 to 2^64 - 1.

    Raises
    ------
    ConfigError
        If it is no size, no whole number of bytes, past 64 bits, or in decimal units as TB.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        value = text
    elif isinstance(text, str):
        value = _value(name, text.strip())
    else:
        raise ConfigError(f"{name}: {text!r} is no size")
    if not 0 <= value < U64_END:
        raise ConfigError(f"{name}: {text!r} is {'negative' if value < 0 else 'past 64 bits'}")
    return value


def _value(name: str, text: str) -> int:
    if power := _POWER.fullmatch(text):
        return 1 << int(power[1])
    if _HEX.fullmatch(text):
        return int(text, 16)
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{name}: {text!r} is no size such as 3T, 512G, 2^42 or 0x40000000")
    number, unit, suffix = Fraction(found[1]), found[2].upper(), (found[3] or "").upper()
    if unit and suffix == "B":
        raise ConfigError(
            f"{name}: {text!r}: units are binary here, write {found[1]}{unit} or {found[1]} {unit}iB"
        )
    value = number * (1 << _SHIFTS[unit])
    if value.denominator != 1:
        raise ConfigError(f"{name}: {text!r} is no whole number of bytes")
    return int(value)


def power_text(size: int) -> str:
    """``2^42`` for a power of two, else the size in hex."""
    return f"2^{size.bit_length() - 1}" if size and not size & (size - 1) else f"{size:#x}"
