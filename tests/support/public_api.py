"""What must hold of every call of a public callable, whatever its arguments.

A call gives a result, or an exception of a kind that Python or the package has for a wrong argument, in
words that the package chose; never a stumble inside (``AttributeError``, ``KeyError``, "object is not
iterable", ...). What it gave can be told as JSON and read again, and agrees with itself.
"""

from __future__ import annotations

import json
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile_values import anything, little
from hypothesis import strategies as st

import xenmm
from xenmm import XenmmError
from xenmm.firmware.memory_map import MemoryMap, MemoryRange, SratRange

#: What Python raises for an argument of a wrong type or value. UnicodeError is a ValueError.
OF_PYTHON = (TypeError, ValueError, OverflowError, IndexError)

PACKAGE = Path(xenmm.__file__).parent
#: Lines whose errors are the caller's: one argument taken for a whole number, and a function that is given.
OF_THE_CALLER = ("index(", "self.value(")


@dataclass(frozen=True)
class Target:
    """A public callable: good arguments by name, those that must stay little, those that are never spoilt."""

    call: Callable[..., Any]
    good: dict[str, st.SearchStrategy[Any]]
    little: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    kinds: tuple[type[Exception], ...] = OF_PYTHON

    def arguments(self) -> st.SearchStrategy[dict[str, Any]]:
        """Every argument good, or a few of them anything at all."""
        names = [name for name in self.good if name not in self.fixed]
        some = st.lists(st.sampled_from(names), unique=True, max_size=2) if names else st.just([])
        return some.flatmap(
            lambda spoilt: st.fixed_dictionaries(
                {
                    name: good if name not in spoilt else little if name in self.little else anything
                    for name, good in self.good.items()
                }
            )
        )


def sane(result: Any) -> None:
    """What a call gave can be told as JSON and be read again, and agrees with itself."""
    if isinstance(result, MemoryRange | SratRange):
        assert 0 <= int(result.start) < int(result.end) <= 1 << 64
    if isinstance(result, MemoryMap):
        assert MemoryMap.from_dict(json.loads(json.dumps(result.to_dict()))).sha256 == result.sha256
        assert xenmm.read_map(result.to_json().encode()).sha256 == result.sha256
        assert result.ram_bytes + sum(b - a for a, b in result.holes) == result.top
    if isinstance(result, xenmm.Host):
        assert result.used_ram_bytes + sum(lost.size for lost in result.lost) == result.ram_bytes
        assert pickle.loads(pickle.dumps(result)).to_dict() == result.to_dict()
    if isinstance(result, xenmm.Machine):
        result.audit().check()
    if isinstance(result, str):
        result.encode()
    told = getattr(result, "to_dict", None)
    if told is not None and not isinstance(result, type):
        json.dumps(told(), allow_nan=False)


def raised_on_purpose(error: BaseException) -> bool:
    """Whether the package's own ``raise`` made this error, or what the caller gave.

    Python's own say nothing of which argument is meant. What is compiled names its arguments by itself.
    """
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame.line or "" for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    compiled = not frames[-1].filename.endswith(".py")
    if compiled or not inside:
        return True
    return inside[-1].startswith("raise ") or any(words in inside[-1] for words in OF_THE_CALLER)


def outcome(target: Target, given: dict[str, Any]) -> str:
    """Make the call and judge it: ``result``, or the name of the exception's type."""
    try:
        result = target.call(**given)
    except XenmmError as error:
        text = str(error)
        assert text and "\n" not in text and "\r" not in text, f"not one line: {text!r}"
        return type(error).__name__
    except target.kinds as error:
        assert str(error), f"{type(error).__name__} without a word"
        assert raised_on_purpose(error), f"a stumble inside: {type(error).__name__}: {error}"
        return type(error).__name__
    sane(result)
    return "result"
