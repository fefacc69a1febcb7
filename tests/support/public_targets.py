"""Every public callable, with good arguments to spoil: the bundled machines' logs and maps among them."""

from __future__ import annotations

import functools
import json
import tempfile
from typing import Any

import numpy as np
from any_value import DOMAIN, MACHINE, fresh
from hostile_values import anything, arrays, changed_document, integers, plain, texts
from hypothesis import strategies as st
from machines import small_host
from public_api import OF_PYTHON, Target

import xenmm
from xenmm import timing
from xenmm.boot.profiles import PROFILES
from xenmm.embed import FORMATS, export, stale
from xenmm.firmware.memory_map import KINDS, MemoryMap, MemoryRange, Note, Source, SratRange
from xenmm.maps import bundled
from xenmm.timing.replay import RULES, Input
from xenmm.timing.workloads import WORKLOADS, parameters


@functools.cache
def hosts() -> tuple[xenmm.Host, ...]:
    """One host of each compression."""
    return tuple(small_host(profile) for profile in ("xen-none", "xen-mask", "xen-offset"))


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """The bundled machines' logs and maps."""
    return tuple(path.read_bytes() for path in bundled().values())


@functools.cache
def small_map() -> MemoryMap:
    return small_host().memory_map


PAIRS = st.tuples(integers, integers)
RANGES = st.lists(st.sampled_from([(0, 0xA0000), (1 << 20, 1 << 30), (1 << 32, 5 << 30)]), max_size=4)
PROFILE = st.sampled_from(list(PROFILES))


@st.composite
def changed_bytes(draw: st.DrawFn) -> bytes:
    """A bundled log or map with a few pieces of it replaced, repeated or left out."""
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 40))
        piece = data[at : at + length]
        data[at : at + length] = draw(
            st.binary(max_size=12) | st.sampled_from([b"", piece * 2, b"ffff", b"\n"])
        )
    return bytes(data)


def of_conversion(which: tuple[int, str, bool], value: Any, out: Any) -> Any:
    host, name, unchecked = which
    name += "_unchecked" if unchecked and name != "mfn_valid" else ""
    return getattr(hosts()[host], name)(value, **({} if out is None else {"out": out}))


def own_parameter(name: Any, unit: Any, rule: Any, value: Any) -> Any:
    return xenmm.boot(small_map(), parameters=[xenmm.OwnParameter(name, unit, rule, value)])


def run_engine(addresses: Any, kinds: Any, sizes: Any, **options: Any) -> Any:
    engine = timing.Engine(timing.load_microarchitecture("nehalem"))
    try:
        return engine.run(addresses, kinds, sizes, **options)
    finally:
        json.dumps(engine.result().to_dict(), allow_nan=False)


def run_replay(given: dict[str, Any], **options: Any) -> Any:
    return xenmm.replay(hosts()[2], Input(**given), **options)


def of_machine(which: tuple[str, str], arguments: list[Any]) -> Any:
    machine, domain, names = fresh()
    method = getattr(machine if which[0] == "machine" else domain, which[1])
    try:
        return method(*(names.get(a, a) if isinstance(a, str) else a for a in arguments))
    finally:
        machine.audit().check()


@st.composite
def methods(draw: st.DrawFn) -> dict[str, Any]:
    """A method of the live machine or of a domain, with some of its good arguments spoilt."""
    kind = draw(st.sampled_from(["machine", "domain"]))
    name, good = draw(st.sampled_from(list((MACHINE if kind == "machine" else DOMAIN).items())))
    return {"which": (kind, name), "arguments": [draw(st.just(a) | anything) for a in good]}


def swept(**given: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return xenmm.sweep(out=f"{folder}/out", workers=0, **given)


CONVERSIONS = (
    *("mfn_to_pdx", "pdx_to_mfn", "mfn_to_page", "page_to_mfn", "mfn_to_virt", "virt_to_mfn"),
    *("maddr_to_virt", "virt_to_maddr", "page_to_virt", "virt_to_page", "page_to_mfn_to_virt", "mfn_valid"),
)
BOOLS = st.booleans()
CACHE = {"name": st.just("L1"), "size": st.just(32768), "assoc": st.just(8), "line": st.just(64)}
UARCH = st.sampled_from(["zen3", "nehalem"])
LAYOUT = xenmm.Layout.even(64 << 30, 2)
NODES = st.just((1 << 32, 1 << 33))

TARGETS = {
    "MemoryRange": Target(
        MemoryRange,
        {"start": st.just(0), "end": st.just(4096), "kind": st.sampled_from(KINDS), "label": texts},
    ),
    "SratRange": Target(
        SratRange,
        {
            "start": st.just(0),
            "end": st.just(4096),
            "node": st.just(0),
            "flags": st.just(1),
            "pxm": st.none(),
        },
    ),
    "Note": Target(Note, {"level": st.just("note"), "text": texts, "dropped_bytes": st.just(4096)}),
    "from_ranges": Target(
        MemoryMap.from_ranges, {"ram": RANGES | st.lists(PAIRS), "srat": st.none() | RANGES, "name": texts}
    ),
    "MemoryMap": Target(
        MemoryMap,
        {
            "ranges": st.just((MemoryRange(0, 4096), MemoryRange(1 << 20, 1 << 30))),
            "srat": st.none() | st.just((SratRange(0, 1 << 30),)),
            "name": texts,
            "notes": st.just((Note("note", "said", Source("file", 1)),)),
        },
    ),
    "from_dict": Target(
        MemoryMap.from_dict, {"document": st.deferred(lambda: changed_document(small_map().to_dict()))}
    ),
    "read_map": Target(
        xenmm.read_map,
        {
            "source": changed_bytes(),
            "boot": st.none(),
            "map": st.just("firmware"),
            "strict": BOOLS,
            "name": st.none() | st.just("log"),
        },
    ),
    "boot": Target(
        xenmm.boot,
        {
            "source": st.deferred(lambda: st.just(small_map())) | changed_bytes(),
            "profile": PROFILE,
            "page_sizes": st.sampled_from(["1g", "2m"]),
            "compat_m2p": st.none() | BOOLS,
            "hotplug": st.none() | BOOLS,
            "stack_guards": BOOLS,
            "xen_phys_start": st.none() | st.just(1 << 21),
            "command_line": st.none() | st.sampled_from(["mem=1G", "mem=-1", "srat=off"]) | texts,
            "parameters": st.just(()),
        },
    ),
    "OwnParameter": Target(
        own_parameter,
        {"name": st.just("own"), "unit": st.just("mfn"), "rule": st.just("mine"), "value": st.just(7)},
    ),
    "conversion": Target(
        of_conversion,
        {
            "which": st.tuples(st.integers(0, 2), st.sampled_from(CONVERSIONS), BOOLS),
            "value": integers | arrays(("u8",)) | arrays(),
            "out": st.none() | arrays(("u8", "?")),
        },
        fixed=("which",),
    ),
    "parameter": Target(
        lambda name, ask: getattr(hosts()[0].params, ask)(name),
        {
            "name": st.sampled_from(["max_page", "nothing"]),
            "ask": st.sampled_from(["writer", "__getitem__"]),
        },
        fixed=("ask",),
        kinds=(*OF_PYTHON, KeyError),
    ),
    "export": Target(
        lambda **given: export(hosts()[2], **given),
        {
            "form": st.sampled_from([*FORMATS, "v2p"]),
            "prefix": st.just("machine"),
            "page_size": st.sampled_from([None, "4k", "2m", "1g"]),
            "virt_range": st.none() | PAIRS,
        },
    ),
    "stale": Target(
        lambda **given: stale(**given), {"text": texts, "host": st.deferred(lambda: st.just(hosts()[0]))}
    ),
    "method": Target(lambda given: of_machine(**given), {"given": methods()}, fixed=("given",)),
    "Machine": Target(
        lambda host, **options: xenmm.Machine(host, **options),
        {
            "host": st.deferred(lambda: st.just(hosts()[2])),
            "flavour": st.sampled_from([None, "cse", "naive"]),
            "map_by": st.sampled_from([None, "page", "frame"]),
            "mapcache": st.integers(0, 4),
            "cpus": st.integers(0, 64),
            "reserve": st.just(()) | st.lists(PAIRS, max_size=3),
        },
    ),
    "Cache": Target(
        timing.Cache,
        {
            **CACHE,
            "latency": st.just(4),
            "parent": st.none(),
            "replacement": st.sampled_from(["lru", "plru", "fifo", "random"]),
            "prefetch": st.just("none"),
            "content": st.sampled_from(["shared", "exclusive"]),
            "holds": st.just("all"),
            "arrival": st.just("mark"),
        },
    ),
    "Tlb": Target(
        timing.Tlb,
        {
            "name": st.just("T"),
            "entries": st.just(64),
            "assoc": st.just(4),
            "page_sizes": st.just(("4k", "2m")),
            "level": st.just(1),
            "latency": st.just(0),
            "splits": st.just({}),
        },
    ),
    "PageWalk": Target(
        timing.PageWalk,
        {
            "latency": st.just(0),
            "walkers": st.just(1),
            "entry": st.none(),
            "caches": st.just({"l2e": 16}),
            "assoc": st.just({"l2e": 4}),
        },
    ),
    "Core": Target(
        timing.Core,
        {"frequency_ghz": st.just(3.0), "accesses_per_cycle": st.just(2), "outstanding_misses": st.just(10)},
    ),
    "Hierarchy": Target(
        timing.Hierarchy,
        {
            "caches": st.just((timing.Cache("L1", 32768, 8),)),
            "tlbs": st.just((timing.Tlb("T", 64, 4),)),
            "walk": st.none() | st.just(timing.PageWalk()),
            "memory": st.just(timing.Memory(100)),
            "core": st.just(timing.Core()),
            "name": texts,
            "sources": st.just({}),
        },
    ),
    "Hierarchy.from_dict": Target(
        timing.Hierarchy.from_dict,
        {"table": st.deferred(lambda: changed_document(timing.load_microarchitecture("zen3").to_dict()))},
    ),
    "from_toml": Target(timing.Hierarchy.from_toml, {"source": texts}),
    "load_microarchitecture": Target(timing.load_microarchitecture, {"name": UARCH}),
    "Mapping": Target(
        timing.Mapping,
        {
            "virt_start": st.just(0),
            "maddr_start": st.just(4096),
            "length": st.just(8192),
            "page_size": st.sampled_from(["4k", "2m", "1g"]),
        },
    ),
    "AddressSpace": Target(
        timing.AddressSpace,
        {
            "mappings": st.just((timing.Mapping(0, 0, 8192),)),
            "tables_maddr": st.just(1 << 40),
            "name": texts,
        },
    ),
    "translate": Target(timing.AddressSpace((timing.Mapping(0, 0, 8192),)).translate, {"virt": integers}),
    "Engine": Target(
        lambda **given: timing.Engine(**given).load(64),
        {
            "hierarchy": st.just(timing.load_microarchitecture("nehalem")),
            "space": st.none() | st.just(timing.AddressSpace((timing.Mapping(0, 0, 8192),))),
            "seed": st.just(0),
            "instruction_set": st.none(),
        },
    ),
    "Engine.load": Target(
        lambda way, virt: getattr(timing.Engine(timing.load_microarchitecture("nehalem")), way)(virt),
        {"way": st.sampled_from(["load", "store", "fetch"]), "virt": integers},
        fixed=("way",),
    ),
    "Engine.run": Target(
        run_engine,
        {
            "addresses": arrays(("u8",)) | st.just(np.arange(0, 6400, 64, dtype=np.uint64)),
            "kinds": st.none() | arrays(("u1",)),
            "sizes": st.none() | arrays(("u1", "u2")),
            "straddle": st.sampled_from(["both", "once"]),
            "warmup": st.just(0) | integers,
            "roi": st.none() | PAIRS,
            "interval": st.none() | st.integers(0, 50),
            "compute_cycles": st.just(0) | integers,
        },
    ),
    "Input": Target(
        Input,
        {
            "trace": st.none(),
            "interpretation": st.sampled_from(list(RULES)),
            "workload": st.sampled_from(list(WORKLOADS)),
            "parameters": st.just({}),
            "accesses": st.just(100),
            "seed": st.just(1),
            "strict": BOOLS,
        },
    ),
    "replay": Target(
        run_replay,
        {
            "given": st.sampled_from(list(WORKLOADS)).flatmap(
                lambda name: st.fixed_dictionaries(
                    {
                        "workload": st.just(name),
                        "accesses": st.integers(-1, 300),
                        "seed": integers,
                        "parameters": st.just({})
                        | st.dictionaries(
                            st.sampled_from([*parameters(name), "nothing"]), integers | plain, max_size=2
                        ),
                    }
                )
            ),
            "uarch": UARCH,
            "straddle": st.just("both"),
            "warmup": st.just(0) | integers,
            "roi": st.none() | PAIRS,
            "interval": st.none() | st.integers(1, 50),
            "timeline": BOOLS,
            "seed": st.just(0) | integers,
        },
        little=("given",),
    ),
    "Layout": Target(
        lambda **given: xenmm.Layout(**given).memory_map(),
        {
            "node_bytes": NODES,
            "spacing": st.none() | st.just(1 << 40),
            "base": st.just(0),
            "low_bytes": st.just(1 << 31),
            "ht_hole": st.sampled_from(["none", "split", "move"]),
            "hotplug_bytes": st.just(0) | st.just(1 << 30),
            "max_address": st.just(1 << 52),
        },
    ),
    "Layout.even": Target(
        lambda **given: xenmm.Layout.even(**given).memory_map(),
        {"ram": st.just(64 << 30), "nodes": st.just(2), "granule": st.just(1 << 30), "spacing": st.none()},
    ),
    "largest_machine": Target(
        xenmm.largest_machine,
        {"layout": st.just(LAYOUT), "profile": PROFILE, "granule": st.just(1 << 40), "boots": st.just(2)},
        little=("boots",),
    ),
    "search_layouts": Target(
        xenmm.search_layouts,
        {
            "layout": st.just(LAYOUT),
            "profile": PROFILE,
            "objective": st.sampled_from(["overhead", "virtual", "loss"]),
            "alignment": st.none() | st.just(1 << 40),
            "window": st.none() | st.just((1 << 36, 1 << 40)),
            "boots": st.just(2),
        },
        little=("boots",),
    ),
    "plan": Target(
        xenmm.plan,
        {
            "layout": st.just(LAYOUT),
            "profiles": st.just(("pre",)),
            "granule": st.just(1 << 44),
            "alignment": st.none(),
            "boots": st.just(2),
        },
        little=("boots",),
    ),
    "compare": Target(
        xenmm.compare,
        {
            "a": st.deferred(lambda: st.sampled_from([small_map(), hosts()[0], hosts()[0].to_dict()])),
            "b": st.deferred(lambda: st.sampled_from([small_map(), hosts()[1], hosts()[1].to_dict()])),
            "profile_a": st.none() | PROFILE,
            "profile_b": st.none() | PROFILE,
            "names": st.none() | st.just(("a", "b")),
        },
    ),
    "steps": Target(
        xenmm.steps,
        {
            "source": st.deferred(lambda: st.just(small_map())),
            "workload": st.sampled_from(["mixed", "balloon"]),
            "size": st.just(16),
            "page_sizes": st.none() | st.just("2m"),
            "uarch": st.none() | st.just("zen3"),
        },
        little=("size",),
    ),
    "sweep": Target(
        swept,
        {
            "inputs": st.deferred(lambda: st.just([small_map()])),
            "kind": st.none() | st.sampled_from(["report", "replay"]),
            "profiles": st.just(("pre",)) | st.lists(PROFILE, max_size=3),
            "page_sizes": st.sampled_from(["2m", "1g", ["1g", "2m"]]),
            "compat_m2p": st.none() | st.just([True, False]),
            "stack_guards": BOOLS,
            "command_line": st.none() | texts,
            "workloads": st.none() | st.just("zipf:lines=100"),
            "uarchs": st.none() | UARCH,
            "accesses": st.just(100),
            "seed": st.just(1),
            "size": st.just(16),
            "shard": st.none() | st.sampled_from(["1/2", (2, 2)]),
            "boot": st.none(),
            "map": st.just("firmware"),
            "retry": BOOLS,
        },
        little=("accesses", "size"),
    ),
    "show_config": Target(xenmm.show_config, {"mode": st.just("dicts")}),
}
