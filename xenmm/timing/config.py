"""A core's caches, TLBs and page walks together: the hierarchy, the TOML that makes it, and the checks.

Every check happens here, before an engine is built, and names the field as the TOML spells it. What the
fields mean to time stands in :mod:`xenmm.timing.result`, what they mean to hits and misses in
``xenmm/_timing_kernels.h``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import IO, Any

from ..errors import ConfigError, did_you_mean, need, need_all
from ._fields import bytes_of_text, check_known, check_unique, cycles_of_ns
from .levels import Cache, Core, Memory, PageWalk, Tlb
from .operations import Operations, completed


@dataclass(frozen=True)
class Hierarchy:
    """One core's caches, TLBs, page walker and memory.

    Parameters
    ----------
    caches : iterable of Cache
        Each has its parent among the others; several first caches may share one.
    tlbs : iterable of Tlb
        None: addresses are not translated, and nothing walks.
    walk : PageWalk or None
        None: a miss of the last TLB costs nothing and reads nothing.
    memory, core
        See the classes.
    name : str
        What it models.
    sources : mapping of str to str
        Field (``cache.L1D.latency``) or block (``cache.L1D``) to where its number was found, or "assumed".
    operations : Operations, optional
        What single operations cost, for the costs of primitives; a preset's are kept apart.

    Raises
    ------
    ConfigError
        When a field or a relation between fields is wrong; the message begins with the field.
    """

    caches: tuple[Cache, ...]
    tlbs: tuple[Tlb, ...] = ()
    walk: PageWalk | None = None
    memory: Memory = field(default_factory=Memory)
    core: Core = field(default_factory=Core)
    name: str = "custom"
    sources: Mapping[str, str] = field(default_factory=dict)
    operations: Operations | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "caches", need_all("caches", self.caches, Cache))
        object.__setattr__(self, "tlbs", need_all("tlbs", self.tlbs, Tlb))
        need("memory", self.memory, Memory)
        need("core", self.core, Core)
        need("name", self.name, str)
        object.__setattr__(self, "sources", _sources(self.sources))
        _check_caches(self.caches)
        for c in self.caches:
            _check_latency("memory.latency", self.memory.latency, f"cache.{c.name}", c.latency)
        _check_tlbs(self.tlbs)
        if self.walk is not None:
            need("walk", self.walk, PageWalk)
            if not self.tlbs:
                raise ConfigError("walk: nothing walks without a TLB; add one, or leave the walk out")
            if self.walk.entry is not None and self.walk.entry not in {c.name for c in self.caches}:
                raise ConfigError(f"walk.entry: no cache is named {self.walk.entry!r}")

    def entries(self) -> tuple[Cache | None, Cache | None]:
        """Return the first cache of data and that of instructions."""
        parents = {c.parent for c in self.caches}
        first = [c for c in self.caches if c.name not in parents]
        data = next((c for c in first if c.holds in ("all", "data")), None)
        return data, next((c for c in first if c.holds in ("all", "instruction")), data)

    def to_dict(self) -> dict[str, Any]:
        """Return every value in effect; :meth:`from_dict` makes the same hierarchy of it."""
        out: dict[str, Any] = {"name": self.name, "core": _plain(self.core), "memory": _plain(self.memory)}
        out["cache"] = {c.name: _plain(c, "name") for c in self.caches}
        out["tlb"] = {t.name: _plain(t, "name") for t in self.tlbs}
        if self.walk is not None:
            out["walk"] = _plain(self.walk)
        out["source"] = dict(self.sources)
        if self.operations is not None:
            out["operations"] = self.operations.to_dict()
            out["source"] |= {f"operations.{f}": where for f, where in self.operations.sources.items()}
        return out

    def load_latency(self) -> int:
        """Return the cycles of a load that hits the first cache of data; 0 when it has none."""
        first, _ = self.entries()
        return 0 if first is None else first.latency

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Hierarchy:
        """Make a hierarchy of the tables that the TOML holds; see :meth:`from_toml`."""
        check_known("", table, ("name", "core", "memory", "cache", "tlb", "walk", "operations", "source"))
        core = Core(**_block("core", table.get("core", {}), Core))
        ghz = core.frequency_ghz
        memory = Memory(**_block("memory", table.get("memory", {}), Memory, ghz))
        caches = [_cache(n, block, ghz) for n, block in _blocks("cache", table)]
        tlbs = [_tlb(n, block, ghz) for n, block in _blocks("tlb", table)]
        walk = PageWalk(**_block("walk", table["walk"], PageWalk, ghz)) if "walk" in table else None
        name, sources = table.get("name", "custom"), table.get("source", {})
        made = cls(tuple(caches), tuple(tlbs), walk, memory, core, name, sources)
        return _with_operations(made, table["operations"]) if "operations" in table else made

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str]) -> Hierarchy:
        """Read a hierarchy from TOML.

        Parameters
        ----------
        source : path, or str with a newline
            A file, or the TOML itself: blocks ``[cache.NAME]``, ``[tlb.NAME]``, ``[walk]``, ``[memory]`` and
            ``[core]`` whose keys are the parameters of the classes. Sizes may be written ``"32KiB"``,
            latencies as ``latency_ns`` when ``core.frequency_ghz`` is given; ``assoc = "full"`` is one set.
            ``[source]`` says where numbers come from. ``[operations]`` has the fields of
            :class:`xenmm.timing.operations.Operations`; those left out are assumed.

        Raises
        ------
        ConfigError
            The file cannot be read, is not TOML, or a field is wrong.
        """
        import tomllib

        if not isinstance(source, str | os.PathLike):
            raise ConfigError(f"a hierarchy is read from a path or a text of TOML, not from {source!r}")
        where = ""
        try:
            if isinstance(source, str) and "\n" in source:
                table = tomllib.loads(source)
            else:
                where = f"{os.fspath(source)}: "
                with _opened(source) as f:
                    table = tomllib.load(f)
            return cls.from_dict(table)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise ConfigError(f"{where}not TOML: {e}") from None
        except OSError as e:
            raise ConfigError(f"{where}{e.strerror or e}") from None
        except ConfigError as e:
            raise (ConfigError(f"{where}{e}") if where else e) from None


def _opened(path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return open(path, "rb")
    except ValueError:
        # A zero byte, or half of a surrogate pair.
        raise ConfigError("no file has such a name") from None


def microarchitectures() -> tuple[str, ...]:
    """Return the names of the presets."""
    from importlib import resources

    folder = resources.files(__package__) / "microarchitectures"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def load_microarchitecture(name: str) -> Hierarchy:
    """Return a preset by name, or the hierarchy of a TOML file by path.

    Raises
    ------
    ConfigError
        `name` is neither.
    """
    from importlib import resources

    need("microarchitecture", name, str)
    if name in microarchitectures():
        text = (resources.files(__package__) / "microarchitectures" / f"{name}.toml").read_text(
            encoding="utf-8"
        )
        return Hierarchy.from_toml(text + "\n")
    if name.endswith(".toml") or os.sep in name:
        return Hierarchy.from_toml(name)
    names = microarchitectures()
    raise ConfigError(
        f"microarchitecture: {name!r} is not one of {', '.join(names)}, nor a .toml file"
        f"{did_you_mean(name, names)}"
    )


def _check_caches(caches: tuple[Cache, ...]) -> None:
    check_unique("cache", [c.name for c in caches])
    by_name = {c.name: c for c in caches}
    for c in caches:
        at, chain, here = f"cache.{c.name}", [c.name], c
        while here.parent is not None:
            if here.parent not in by_name:
                raise ConfigError(f"cache.{here.name}.parent: no cache is named {here.parent!r}")
            here = by_name[here.parent]
            if here.name in chain:
                raise ConfigError(f"{at}.parent: the caches {' -> '.join([*chain, here.name])} form a ring")
            chain.append(here.name)
        if c.parent is not None and by_name[c.parent].line < c.line:
            raise ConfigError(
                f"{at}.line: {c.line} bytes are more than the {by_name[c.parent].line} of {c.parent}"
            )
        if c.parent is not None:
            _check_latency(f"cache.{c.parent}.latency", by_name[c.parent].latency, at, c.latency)
        if c.content == "exclusive":
            above = [a for a in caches if a.parent == c.name]
            if not above:
                raise ConfigError(f"{at}.content: no cache stands above it, so there is nothing to exclude")
            if any(a.line != c.line for a in above):
                raise ConfigError(f"{at}.line: an exclusive cache needs the line of the caches above it")
            if any(a.content == "exclusive" for a in above):
                raise ConfigError(f"{at}.content: only one level may be exclusive")
    _check_entries(caches)


def _check_latency(at: str, latency: int, above: str, less: int) -> None:
    # Latencies include what happened above. Zero is "not given".
    if 0 < latency < less:
        raise ConfigError(f"{at}: {latency} cycles from load to use are fewer than the {less} of {above}")


def _check_entries(caches: tuple[Cache, ...]) -> None:
    parents = {c.parent for c in caches}
    first = [c for c in caches if c.name not in parents]
    for kind in ("data", "instruction"):
        names = [c.name for c in first if c.holds in ("all", kind)]
        if len(names) > 1:
            raise ConfigError(
                f"cache.{names[1]}.holds: {names[0]} already is the first cache of every {kind} access"
            )
    if caches and not any(c.holds in ("all", "data") for c in first):
        raise ConfigError(f"cache.{first[0].name}.holds: no first cache holds data")
    for c in caches:
        if c.name in parents and c.holds != "all":
            raise ConfigError(f"cache.{c.name}.holds: only a first cache can choose what it holds")


def _check_tlbs(tlbs: tuple[Tlb, ...]) -> None:
    check_unique("tlb", [t.name for t in tlbs])
    taken: dict[tuple[int, str, str], str] = {}
    for t in tlbs:
        for side in ("data", "instruction"):
            for size in t.page_sizes if t.holds in ("all", side) else ():
                other = taken.setdefault((t.level, side, size), t.name)
                if other != t.name:
                    raise ConfigError(
                        f"tlb.{t.name}.page_sizes: {other} already holds {size} pages "
                        f"of {side} at level {t.level}"
                    )
    for t in tlbs:
        for above in tlbs:
            if above.level < t.level:
                _check_latency(f"tlb.{t.name}.latency", t.latency, f"tlb.{above.name}", above.latency)
    levels = {t.level for t in tlbs}
    for level in sorted(levels):
        if level > 1 and level - 1 not in levels:
            raise ConfigError(f"tlb: level {level} is given, but no level {level - 1}")


def _is_full(assoc: object) -> bool:
    return isinstance(assoc, str) and assoc == "full"


def _cache(name: str, block: Any, ghz: float | None) -> Cache:
    at = f"cache.{name}"
    values = _block(at, block, Cache, ghz, ("size", "assoc"))
    values["size"] = bytes_of_text(f"{at}.size", values["size"])
    if _is_full(values["assoc"]):
        # One set, of as many ways as it has lines. What is wrong with either is told by the cache of one way.
        one_way = Cache(**{**values, "name": name, "assoc": 1})
        values["assoc"] = one_way.sets
    return Cache(name=name, **values)


def _tlb(name: str, block: Any, ghz: float | None) -> Tlb:
    values = _block(f"tlb.{name}", block, Tlb, ghz, ("entries", "assoc"))
    if _is_full(values["assoc"]):
        values["assoc"] = values["entries"]
    if isinstance(values.get("page_sizes"), list):
        values["page_sizes"] = tuple(str(s).lower() for s in values["page_sizes"])
    return Tlb(name=name, **values)


def _blocks(kind: str, table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    blocks = table.get(kind, {})
    if not isinstance(blocks, Mapping):
        raise ConfigError(f"{kind}: {blocks!r} is not a table of named blocks")
    return list(blocks.items())


def _block(
    at: str, table: Any, cls: type, ghz: float | None = None, needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    names = [f.name for f in fields(cls) if f.name != "name"]
    ns = "latency" in names
    check_known(at, table, [*names, "latency_ns"] if ns else names)
    values = dict(table)
    for n in needed:
        if n not in values:
            raise ConfigError(f"{at}.{n}: missing")
    if "latency_ns" in values:
        values["latency"] = cycles_of_ns(
            f"{at}.latency_ns", values.pop("latency_ns"), "latency" in table, ghz
        )
    return values


def _sources(table: Any) -> dict[str, str]:
    if not isinstance(table, Mapping) or not all(isinstance(t, str) for kv in table.items() for t in kv):
        raise ConfigError("source: it is not a table from field to text")
    return dict(table)


def _with_operations(made: Hierarchy, block: Any) -> Hierarchy:
    mine = {k.partition(".")[2]: v for k, v in made.sources.items() if k.startswith("operations.")}
    others = {k: v for k, v in made.sources.items() if not k.startswith("operations.")}
    found = completed(made.name, block, mine, made.load_latency())
    return replace(made, sources=others, operations=found)


def _plain(block: Any, *leave_out: str) -> dict[str, Any]:
    out = {}
    for f in fields(block):
        value = getattr(block, f.name)
        if f.name in leave_out or value is None:
            continue
        out[f.name] = (
            list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
        )
    return out
