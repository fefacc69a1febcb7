"""The tables of docs/linux.md: bundled machines under Linux's memory models and Xen's, computed by xenmm."""

import numpy as np

import xenmm
from xenmm.maps import open_map
from xenmm.peers import linux_time
from xenmm.peers.linux import MODELS, memory_model
from xenmm.report.beside import beside_linux
from xenmm.report.layout import percent, size
from xenmm.timing.on_host import run_primitive

#: What the figures of frames at random are made with.
FRAMES = 20_000
SEED = 2009


def _map(name):
    return xenmm.read_map(open_map(name))


def _table(heads, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *rows]]
    return "\n".join(lines) + "\n"


def linux_memory(name, *profiles):
    """What describes a bundled machine's RAM: address space with records, bytes, share of RAM."""
    memory_map = _map(name)
    hosts = [xenmm.boot(memory_map, profile) for profile in profiles]
    rows = [
        [
            f"`{row.name}`" + (", not all of the RAM" if row.lost_bytes else ""),
            size(row.described_bytes),
            size(row.record_bytes),
            size(row.other_bytes),
            percent(100 * row.total_bytes / memory_map.ram_bytes),
        ]
        for row in beside_linux(memory_map, hosts)
    ]
    return _table(["", "describes", "records", "other tables", "of RAM"], rows)


def linux_cycles(uarch):
    """Latency and throughput of every conversion, under every model, all of it in the first cache."""
    rows = [
        [f"{row['system'].capitalize()}, `{row['model']}`"]
        + [f"{row[p]['latency']} / {row[p]['throughput']:.2f}" for p in linux_time.PRIMITIVES]
        + [str(len(row["pfn_to_page"]["accesses"])), str(row["pfn_to_page"]["code_bytes"])]
        for row in linux_time.beside_xen(uarch)
    ]
    heads = ["", "frame to record", "record to frame", "frame valid", "record to virt", "reads", "bytes"]
    return _table(heads, rows)


def linux_random(name, uarch):
    """Cycles a call on frames at random, through caches, TLBs and walks, each call waiting for the last."""
    memory_map = _map(name)
    hosts = [xenmm.boot(memory_map, f"xen-{kind}") for kind in ("none", "mask", "offset")]
    rng = np.random.default_rng(SEED)
    ram = [(s >> 12, e >> 12) for s, e in memory_map.ram if e - s >= 1 << 30]
    drawn = [rng.integers(s, e, FRAMES // len(ram), dtype=np.uint64) for s, e in ram]
    frames = np.concatenate(drawn)
    rng.shuffle(frames)
    rows = []
    for model in MODELS:
        linux = memory_model(memory_map, model)
        runs = [linux_time.run_primitive(linux, p, frames, uarch=uarch) for p in linux_time.PRIMITIVES]
        rows.append([f"Linux, `{model}`", *(f"{run.dependent:.1f}" for run in runs)])
    for host in hosts:
        usable = frames[host.mfn_valid(frames)]
        kind = host.compression.kind
        runs = [run_primitive(host, p, usable, uarch=uarch) for p in linux_time.XEN_PRIMITIVES.values()]
        rows.append([f"Xen, `{kind}`", *(f"{run.dependent:.1f}" for run in runs)])
    return _table(["", "frame to record", "record to frame", "frame valid", "record to virt"], rows)


NAMES = {f.__name__: f for f in (linux_memory, linux_cycles, linux_random)}
