"""What differs between two maps, two booted hosts, or two results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ..boot.hazards import Hazard
from ..boot.host import Host, boot
from ..boot.host_json import compression_to_dict
from ..errors import ConfigError, need, need_all
from ..firmware.memory_map import MAP_SCHEMA, MemoryMap
from ..version import __version__
from .compare_maps import Change, map_changes, map_figures
from .compare_results import Difference, differences

COMPARE_SCHEMA: Final = "xenmm-compare/1"
#: No result is larger than this: what is, is read as a log.
_RESULT_BYTES_MAX: Final = 1 << 28

Side = MemoryMap | Host | Mapping[str, Any] | str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Comparison:
    """What differs; everything is empty when nothing does.

    Attributes
    ----------
    kind : str
        ``maps``, ``hosts`` or ``results``.
    a, b : str
        What each side is called.
    changes : tuple of Change
        Ranges and SRAT rows, for maps and hosts.
    figures : tuple of Difference
        Totals, costs in bytes, or the values of results.
    parameters : tuple of Difference
        Frozen parameters, for hosts.
    hazards : tuple of (Hazard or None, Hazard or None)
        Hazards that only one has, or that say another thing, for hosts.
    given : mapping
        Every option of the boots in effect.
    hashes : (str, str)
        SHA-256 of each side: of a map, a host's map, or a result's JSON with its keys sorted.
    """

    kind: str
    a: str
    b: str
    changes: tuple[Change, ...] = ()
    figures: tuple[Difference, ...] = ()
    parameters: tuple[Difference, ...] = ()
    hazards: tuple[tuple[Hazard | None, Hazard | None], ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    hashes: tuple[str, str] = ("", "")

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.changes or self.figures or self.parameters or self.hazards)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, versioned."""
        out: dict[str, Any] = {
            "schema": COMPARE_SCHEMA,
            "xenmm": __version__,
            "kind": self.kind,
            "a": self.a,
            "b": self.b,
            "sha256": dict(zip("ab", self.hashes, strict=True)),
            "same": self.same,
            "options": dict(self.given),
        }
        if self.kind != "results":
            out["changes"] = [change.to_dict() for change in self.changes]
        out["figures"] = [figure.to_dict() for figure in self.figures]
        if self.kind == "hosts":
            out["parameters"] = [p.to_dict() for p in self.parameters]
            out["hazards"] = {
                "gained": [b.to_dict() for a, b in self.hazards if a is None and b is not None],
                "lost": [a.to_dict() for a, b in self.hazards if b is None and a is not None],
                "changed": [[a.to_dict(), b.to_dict()] for a, b in self.hazards if a and b],
            }
        return out

    def __str__(self) -> str:
        from .compare_text import lines

        return "\n".join(lines(self, 80))


def compare(
    a: Side,
    b: Side | None = None,
    *,
    profile_a: str | None = None,
    profile_b: str | None = None,
    names: tuple[str, str] | None = None,
    **options: Any,
) -> Comparison:
    """Compare two maps, two booted hosts, or two results.

    Parameters
    ----------
    a, b : MemoryMap, Host, mapping, path, or a bundled machine's name
        A mapping is a result as ``to_dict()`` or ``--json`` makes it, and a file that holds one is one; every
        other file is read as a map. Without ``b``, ``a`` is compared with itself under another profile.
    profile_a, profile_b : str, optional
        Boot the maps, and compare the hosts; one alone is for both.
    names : (str, str), optional
        What to call them.
    **options
        Of :func:`xenmm.boot`, for both.

    Returns
    -------
    Comparison
        ``same`` is True when nothing differs: not the profiles and names themselves, but what comes of them.

    Raises
    ------
    ConfigError
        If the sides are of different kinds, or the profiles or options do not fit them.
    MemoryMapError, OSError
        If a side cannot be read.
    """
    for name, value in (("profile_a", profile_a), ("profile_b", profile_b)):
        if value is not None:
            need(name, value, str)
    left, right = _loaded(a), _loaded(a if b is None else b)
    called = (_name(a, left), _name(a if b is None else b, right)) if names is None else _both(names)
    if profile_a is not None or profile_b is not None:
        if not (isinstance(left, MemoryMap) and isinstance(right, MemoryMap)):
            raise ConfigError("profiles boot maps: hosts and results are compared as they are")
        first, second = profile_a or profile_b or "", profile_b or profile_a or ""
        left, right = boot(left, first, **options), boot(right, second, **options)
        called = f"{called[0]}, {first}", f"{called[1]}, {second}"
    elif options:
        raise ConfigError(f"{', '.join(options)}: options of boot need a profile to boot")
    if isinstance(left, MemoryMap) and isinstance(right, MemoryMap):
        return _of_maps(left, right, called)
    if isinstance(left, Host) and isinstance(right, Host):
        return _of_hosts(left, right, called, options)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return _of_results(left, right, called)
    raise ConfigError(f"a {_kind(left)} and a {_kind(right)} cannot be compared")


def _loaded(side: Side) -> MemoryMap | Host | Mapping[str, Any]:
    if isinstance(side, MemoryMap | Host | Mapping):
        return side
    from ..report.inputs import load

    if isinstance(side, bytes):
        return result_in(side) or load("bytes", side)[0]
    if not isinstance(side, str | os.PathLike):
        raise ConfigError(f"compared are maps, hosts, results, and files of them, not {side!r}")
    name = os.fspath(side)
    return result_of_file(name) or load(name)[0]


def _both(names: tuple[str, str]) -> tuple[str, str]:
    found = need_all("names", names, str)
    if len(found) != 2:
        raise ConfigError(f"names are two, got {names!r}")
    return found[0], found[1]


def result_of_file(name: str) -> Mapping[str, Any] | None:
    """The result in a file; None when there is no such file, or something else in it."""
    if not os.path.isfile(name) or os.path.getsize(name) > _RESULT_BYTES_MAX:
        return None
    with open(name, "rb") as file:
        return result_in(file.read()) if file.read(1) == b"{" and not file.seek(0) else None


def result_in(data: bytes) -> Mapping[str, Any] | None:
    """The result that these bytes are: a JSON object with a schema, which is none of a map. Else None."""
    if data.lstrip()[:1] != b"{":
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    schema = document.get("schema")
    is_map = schema == MAP_SCHEMA or "ranges" in document
    return document if isinstance(schema, str) and not is_map else None


def _name(side: Side, loaded: object) -> str:
    if isinstance(loaded, MemoryMap):
        return str(side) if isinstance(side, str | os.PathLike) else loaded.name or "unnamed"
    if isinstance(loaded, Host):
        return f"{loaded.memory_map.name or 'unnamed'}, {loaded.profile.name}"
    return str(side) if isinstance(side, str | os.PathLike) else "result"


def _kind(side: object) -> str:
    return "map" if isinstance(side, MemoryMap) else "host" if isinstance(side, Host) else "result"


def _of_maps(a: MemoryMap, b: MemoryMap, called: tuple[str, str]) -> Comparison:
    figures = tuple(differences(map_figures(a), map_figures(b)))
    return Comparison("maps", *called, tuple(map_changes(a, b)), figures, hashes=(a.sha256, b.sha256))


def _of_hosts(a: Host, b: Host, called: tuple[str, str], options: Mapping[str, Any]) -> Comparison:
    figures = (
        {**map_figures(a.memory_map), **_host_figures(a)},
        {**map_figures(b.memory_map), **_host_figures(b)},
    )
    parameters = []
    values = dict(a.params), dict(b.params)
    for name in dict.fromkeys((*values[0], *values[1])):
        if values[0].get(name) != values[1].get(name):
            parameters.append(Difference(name, *(_plain(v.get(name)) for v in values)))
    return Comparison(
        "hosts",
        *called,
        tuple(map_changes(a.memory_map, b.memory_map)),
        tuple(differences(*figures)),
        tuple(parameters),
        tuple(_hazard_changes(a.hazards, b.hazards)),
        {**asdict(a.options), "profile_a": a.profile.name, "profile_b": b.profile.name, **options},
        (a.memory_map.sha256, b.memory_map.sha256),
    )


def _host_figures(host: Host) -> dict[str, Any]:
    overhead = host.overhead()
    chosen = compression_to_dict(host.compression)
    return {
        "compression": f"{chosen['kind']}: {chosen['reason']}",
        "used_ram_bytes": host.used_ram_bytes,
        "lost_bytes": host.plan.lost_bytes,
        **{f"{name}_bytes": value for name, value in overhead.costs.to_dict().items()},
        "total_percent": overhead.percent["total"],
        **{f"{name}_virtual_bytes": value for name, value in overhead.virtual.items()},
    }


def _hazard_changes(a: Sequence[Hazard], b: Sequence[Hazard]) -> list[tuple[Hazard | None, Hazard | None]]:
    only_a, only_b = [h for h in a if h not in b], [h for h in b if h not in a]
    found: list[tuple[Hazard | None, Hazard | None]] = []
    for hazard in only_a:
        other = next((h for h in only_b if h.code == hazard.code), None)
        if other is not None:
            only_b.remove(other)
        found.append((hazard, other))
    return [*found, *((None, hazard) for hazard in only_b)]


def _of_results(a: Mapping[str, Any], b: Mapping[str, Any], called: tuple[str, str]) -> Comparison:
    schemas = a.get("schema"), b.get("schema")
    if schemas[0] != schemas[1]:
        raise ConfigError(f"results of different kinds cannot be compared: {schemas[0]} and {schemas[1]}")
    hashes = _digest(a), _digest(b)
    return Comparison("results", *called, figures=tuple(differences(a, b)), hashes=hashes)


def _digest(result: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(result, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"a result is a tree of JSON, as to_dict() makes it: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else value
