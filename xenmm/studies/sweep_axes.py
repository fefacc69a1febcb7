"""The axes of a sweep: what the settings of its cells can be, checked before anything is done."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..boot.profiles import PROFILES, get_profile
from ..errors import ConfigError, need_one_of
from .sweep_cells import BOOT_OPTIONS, KINDS

#: The word for every profile, microarchitecture or workload.
ALL: Final = "all"
DEFAULT_WORKLOAD: Final = {"replay": "grant-storm", "steps": "mixed"}
DEFAULT_UARCH: Final = "zen3"
_SHARD: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")

Names = str | Sequence[str]


def make_settings(
    kind: str,
    profiles: Names,
    axes: Mapping[str, Any],
    uarchs: Names | None,
    workloads: Any,
    accesses: int,
    seed: int,
    size: int,
    read: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Every combination of settings, checked; see :func:`sweep`."""
    need_one_of("kind", kind, KINDS)
    parts: list[tuple[str, list[Any]]] = [("kind", [kind])]
    if kind == "steps":
        others = [n for n in BOOT_OPTIONS if n != "page_sizes"]
        given = [n for n in others if any(v is not None and v is not False for v in _values(axes[n]))]
        if given or not _is_all(profiles):
            raise ConfigError(
                f"steps boots profiles of its own: {given[0] if given else 'profiles'} has no effect"
            )
        parts.append(("page_sizes", _values(axes["page_sizes"])))
    else:
        parts.append(("profile", _profiles(profiles)))
        parts += [(name, _values(axes[name])) for name in BOOT_OPTIONS]
    if kind == "report" and (uarchs is not None or workloads is not None):
        raise ConfigError("report replays nothing: uarchs and workloads are for kind replay or steps")
    if kind != "report":
        parts.append(("uarch", _uarchs(uarchs, kind)))
        parts.append(("workload", _workloads(workloads, kind)))
    if kind == "replay":
        parts += [("accesses", [_positive("accesses", accesses)]), ("seed", [_positive("seed", seed, 0)])]
    if kind == "steps":
        parts.append(("size", [_positive("size", size)]))
    parts += [(name, [value]) for name, value in read.items()]
    for name, values in parts:
        _check_values(name, values)
    names = [name for name, _ in parts]
    return [dict(zip(names, each, strict=True)) for each in itertools.product(*(v for _, v in parts))]


def parse_shard(shard: str | tuple[int, int] | None) -> tuple[int, int]:
    """``"3/64"`` as (3, 64); all of it is (1, 1).

    Raises
    ------
    ConfigError
        If it is no shard from 1/N to N/N.
    """
    if shard is None:
        return 1, 1
    found = _SHARD.fullmatch(shard) if isinstance(shard, str) else None
    k, n = (int(found[1]), int(found[2])) if found else shard if isinstance(shard, tuple) else (0, 0)
    if not 1 <= k <= n:
        raise ConfigError(f"shard is K/N with K from 1 to N, got {shard!r}")
    return k, n


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


_DOMAINS: Final[dict[str, tuple[Any, ...]]] = {
    "page_sizes": ("2m", "1g"),
    "compat_m2p": (None, True, False),
    "hotplug": (None, False, True),
    "stack_guards": (True, False),
    "map": ("firmware", "user"),
}


def _check_values(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise ConfigError(f"{name}: no value given")
    for i, value in enumerate(values):
        domain = _DOMAINS.get(name)
        word = value if isinstance(value, str) else None
        if domain is not None and not any(value is d or (word is not None and word == d) for d in domain):
            raise ConfigError(f"{name} is {' or '.join(map(repr, domain))}, got {value!r}")
        if name == "command_line" and not (value is None or isinstance(value, str)):
            raise ConfigError(f"command_line is a string or None, got {value!r}")
        if name == "boot" and value is not None:
            _positive("boot", value)
        if value in values[:i]:
            raise ConfigError(f"{name}: {value!r} is given twice")


def _positive(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is a number from {least} on, got {value!r}")
    return value


def _is_all(names: object) -> bool:
    return isinstance(names, str) and names == ALL


def _profiles(names: Names) -> list[str]:
    chosen = list(PROFILES) if _is_all(names) else _values(names)
    return [get_profile(name).name for name in chosen]


def _uarchs(names: Names | None, kind: str) -> list[str]:
    chosen = _known_uarchs(kind) if _is_all(names) else _values(DEFAULT_UARCH if names is None else names)
    for name in chosen:
        uarch_file(name, kind)
    return chosen


def _known_uarchs(kind: str) -> list[str]:
    if kind == "steps":
        from ..timing.operations import operations

        return list(operations())
    from ..timing.config import microarchitectures

    return list(microarchitectures())


def uarch_file(name: str, kind: str) -> tuple[str | None, str | None]:
    """Where a microarchitecture of one's own is, and the hash of what is simulated; both None for steps.

    Raises
    ------
    ConfigError
        If there is none of this name, or its file is wrong.
    """
    if kind == "steps":
        from ..timing.operations import operations_of

        operations_of(name)
        return None, None
    from ..timing.config import load_microarchitecture, microarchitectures

    facts = json.dumps(load_microarchitecture(name).to_dict(), sort_keys=True)
    path = None if name in microarchitectures() else os.path.abspath(name)
    return path, hashlib.sha256(facts.encode()).hexdigest()


def _workloads(given: Any, kind: str) -> list[dict[str, Any]]:
    known = _known_workloads(kind)
    chosen = known if _is_all(given) else _values(DEFAULT_WORKLOAD[kind] if given is None else given)
    return [_workload(each, kind, known) for each in chosen]


def _known_workloads(kind: str) -> list[str]:
    if kind == "steps":
        from .steps import WORKLOADS

        return list(WORKLOADS)
    from ..timing import workloads

    return list(workloads.WORKLOADS)


def _workload(given: Any, kind: str, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        from .replay_cli import parse_workload

        if not isinstance(given, str):
            raise ConfigError(f"a workload is a name with parameters, or a mapping of both, got {given!r}")
        name, parameters = parse_workload(given)
        given = {"name": name, "parameters": parameters}
    name, parameters = given.get("name"), dict(given.get("parameters", {}))
    need_one_of("workload", name, known)
    if kind == "steps" and parameters:
        raise ConfigError(f"workload: {name} of the steps has no parameters")
    if kind == "replay":
        from ..timing.workloads import parameters as parameters_of

        unknown = set(parameters) - set(parameters_of(name))
        if unknown:
            raise ConfigError(f"{name}.{min(unknown)}: unknown; known are {', '.join(parameters_of(name))}")
    return {"name": name, "parameters": parameters}
