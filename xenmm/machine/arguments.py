"""Arguments of the live machine's methods: whole numbers and yes or no, as their annotations say, or refused.

Anything that stands for a whole number will do (NumPy's too); a fraction, text or nothing is refused in one
line that names the argument, before anything has changed. Ranges are each method's own matter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from operator import index
from typing import Any, Final, TypeVar

from ..errors import MachineError

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: Annotations that are checked: may it be None?
_KINDS: Final = {"int": False, "int | None": True, "bool": False}


def whole(function: _Function) -> _Function:
    """Check the arguments of a function that are annotated ``int``, ``int | None`` or ``bool``."""
    parameters = list(signature(function).parameters.values())
    kinds = {p.name: str(p.annotation) for p in parameters if str(p.annotation) in _KINDS}
    places = [(i, p.name) for i, p in enumerate(parameters) if p.name in kinds]

    @wraps(function)
    def checked(*args: Any, **named: Any) -> Any:
        count = len(args)
        for place, name in places:
            if place < count:
                value = args[place]
                if type(value) is not int:
                    value = _value(function, name, kinds[name], value)
                    args = (*args[:place], value, *args[place + 1 :])
            elif name in named and type(named[name]) is not int:
                named[name] = _value(function, name, kinds[name], named[name])
        return function(*args, **named)

    return checked  # type: ignore[return-value]


def _value(function: Callable[..., Any], name: str, kind: str, value: Any) -> Any:
    if kind == "bool":
        if type(value).__name__ in ("bool", "bool_"):
            return bool(value)
        raise MachineError(f"{function.__name__}: {name} is True or False, got {value!r}")
    if value is None and _KINDS[kind]:
        return None
    try:
        return int(index(value))
    except TypeError:
        raise MachineError(f"{function.__name__}: {name} is a whole number, got {value!r}") from None
