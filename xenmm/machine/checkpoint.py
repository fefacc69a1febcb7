"""Save and load a whole live machine: one file, sparse, compressed, versioned, checksummed.

Layout, integers little-endian::

    "xenmm-machine/2\\n" | u64 length | header, JSON | u64 length | sections, zlib | SHA-256 of all before

The header names the host (its map as the package's own JSON, profile, options, a hash of every parameter),
the machine's options, the binary layout of the structs, and the sections with their sizes. The same state
gives the same bytes. Loading boots the host anew, checks that it is the same, and audits the machine before
anybody sees it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..boot.frozen import OwnParameter
from ..boot.host import boot
from ..errors import MachineError, XenmmError
from ..files import write_whole
from ..firmware import own_json
from .grant_table import DOMID_IO
from .page_info import PAGE_LIST_NULL

if TYPE_CHECKING:
    from ..boot.host import Host
    from .machine import Machine

MAGIC: Final = b"xenmm-machine/2\n"
_U64: Final = struct.Struct("<Q")
_DIGEST_BYTES: Final = 32
_LEVEL: Final = 6
#: No machine's state is larger uncompressed: more would be a file made to fill memory.
_SECTION_BYTES_MAX: Final = 1 << 40
_CORE: Final = (
    "free_lists",
    "free_orders",
    "node_free",
    "vcpus",
    "counters",
    "frame_table",
    "m2p",
    "compat",
    "tables",
)
_HEADER: Final = (
    "numbers",
    "tlb_time",
    "frame_table_pages",
    "m2p_pages",
    "compat_pages",
    "table_pdxs",
    "holds",
)
_DOMAIN: Final = ("struct", "p2m", "iomem", "shared", "status", "active", "tracks")


def _params_digest(host: Host) -> str:
    return hashlib.sha256(json.dumps(host.to_dict(), sort_keys=True, default=str).encode()).hexdigest()


def save(machine: Machine, path: str | os.PathLike[str]) -> None:
    """Write a machine's whole state to a file, which appears complete or not at all."""
    data = dumps(machine)
    try:
        write_whole(path, data)
    except OSError as error:
        raise MachineError(f"{error.filename}: {error.strerror}") from None


def dumps(machine: Machine) -> bytes:
    """A machine's whole state as bytes; the same state gives the same bytes."""
    state = machine._export()
    sections = {name: state.pop(name) for name in _CORE}
    for i, domain in enumerate(state["domains"]):
        sections |= {f"{i}.{name}": domain.pop(name) for name in _DOMAIN}
    host = machine.host
    header = {
        "map": own_json.to_dict(host.memory_map),
        "profile": host.profile.name,
        "boot": asdict(host.options),
        "params_sha256": _params_digest(host),
        "own": [[p.name, p.unit, p.rule, host.params[p.name]] for p in host.params.own],
        "machine": machine.options,
        "added": machine.added,
        "structs": machine._struct_sizes(),
        "sections": [[name, len(data)] for name, data in sections.items()],
        **state,
    }
    text = json.dumps(header, sort_keys=True).encode()
    packed = zlib.compress(b"".join(sections.values()), _LEVEL)
    body = MAGIC + _U64.pack(len(text)) + text + _U64.pack(len(packed)) + packed
    return body + hashlib.sha256(body).digest()


def load(path: str | os.PathLike[str]) -> Machine:
    """Read a machine back, host and all.

    Raises
    ------
    MachineError
        If the file cannot be read, is no checkpoint, truncated or altered, comes from another version or
        binary layout, or its state breaks an invariant.
    """
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MachineError(f"{name}: {error.strerror}") from None
    return loads(data, name)


def loads(data: bytes, name: str = "checkpoint") -> Machine:
    """As :func:`load`, from bytes; ``name`` is for messages."""
    header, sections = _unpack(data, name)
    try:
        return _rebuild(header, sections)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        if isinstance(error, XenmmError):
            raise MachineError(f"{name}: {error}") from None
        raise MachineError(f"{name}: its header is not that of a checkpoint ({error})") from None
    except MachineError as error:
        raise MachineError(f"{name}: {error}") from None


def _unpack(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    if not data.startswith(MAGIC):
        kind = "of another version" if data.startswith(b"xenmm-machine/") else "no checkpoint of a machine"
        raise MachineError(f"{name}: {kind}")
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if len(data) < len(MAGIC) + 2 * _U64.size + _DIGEST_BYTES or hashlib.sha256(body).digest() != digest:
        raise MachineError(f"{name}: truncated or altered: its checksum does not hold")
    try:
        at = len(MAGIC)
        (length,) = _U64.unpack_from(body, at)
        header = json.loads(body[at + 8 : at + 8 + length])
        at += 8 + length
        (length,) = _U64.unpack_from(body, at)
        if at + 8 + length != len(body):
            raise ValueError("lengths do not add up")
        sizes = [(str(n), int(size)) for n, size in header["sections"]]
        total = sum(size for _, size in sizes)
        if total > _SECTION_BYTES_MAX or any(size < 0 for _, size in sizes):
            raise ValueError("impossible sizes")
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(body[at + 8 :], total + 1)
        if len(raw) != total or not unpacker.eof:
            raise ValueError("sections do not fill their sizes")
    except (ValueError, KeyError, TypeError, OverflowError, struct.error, zlib.error) as error:
        raise MachineError(f"{name}: damaged inside ({error})") from None
    sections, at = {}, 0
    for section, size in sizes:
        sections[section] = raw[at : at + size]
        at += size
    return header, sections


def _rebuild(header: dict[str, Any], sections: dict[str, bytes]) -> Machine:
    from .machine import Machine

    options = dict(header["boot"])
    own = [OwnParameter(*fields) for fields in header["own"]]
    host = boot(own_json.from_dict(header["map"]), header["profile"], parameters=own, **options)
    if _params_digest(host) != header["params_sha256"]:
        raise MachineError("its host boots differently in this version")
    machine = Machine(host, **_machine_options(header["machine"]))
    if machine._struct_sizes() != header["structs"]:
        raise MachineError("written on a computer with another binary layout")
    for start, end, node in header["added"]:
        machine.add_memory(start, end, node=node)
    state: dict[str, Any] = {name: sections[name] for name in _CORE}
    state |= {name: header[name] for name in _HEADER}
    state["domains"] = [
        {**domain, **{name: sections[f"{i}.{name}"] for name in _DOMAIN}}
        for i, domain in enumerate(header["domains"])
    ]
    _check_state(machine, state)
    machine._import(state)
    machine.audit().check()
    return machine


def _machine_options(saved: dict[str, Any]) -> dict[str, Any]:
    return {**saved, "reserve": [tuple(r) for r in saved["reserve"]]}


def _check_state(machine: Machine, state: dict[str, Any]) -> None:
    # Nothing that is imported may point past a table: sizes first, then every index.
    fresh = machine._export()
    for name in ("free_lists", "free_orders", "node_free", "vcpus", "counters"):
        if len(state[name]) != len(fresh[name]):
            raise MachineError(f"its section {name} has {len(state[name])} bytes, not {len(fresh[name])}")
    if state["numbers"][:2] != fresh["numbers"][:2] or len(state["numbers"]) != len(fresh["numbers"]):
        raise MachineError("its limits are not those of its host")
    if len(state["tlb_time"]) != len(fresh["tlb_time"]):
        raise MachineError("its TLBs are not those of its machine")
    for pages, data, backed, per_page in (
        (state["frame_table_pages"], state["frame_table"], machine._pdx_ok, 128),
        (state["m2p_pages"], state["m2p"], machine._m2p_ok, 512),
        (state["compat_pages"], state["compat"], machine._compat_ok, 1024),
        (state["table_pdxs"], state["tables"], machine._pdx_ok, 1),
    ):
        if len(data) != 4096 * len(pages) or not all(backed(page * per_page) for page in pages):
            raise MachineError("its table pages lie where no table is backed")
        if len(set(pages)) != len(pages):
            raise MachineError("its table pages are there twice")
    _check_pdxs(machine, state)


def _check_pdxs(machine: Machine, state: dict[str, Any]) -> None:
    import numpy as np

    from .page_info import page_info_dtype

    records = np.frombuffer(state["frame_table"], dtype=page_info_dtype())
    used: set[int] = set()
    for name in ("next", "prev", "owner"):
        used |= set(np.unique(records[name]).tolist())
    used |= set(np.unique(np.frombuffer(state["free_lists"], dtype=np.uint32)).tolist())
    used |= {int(pdx) for pdx, *_ in state["holds"]}
    sizes = machine._struct_sizes()
    numbers = []
    for domain in state["domains"]:
        facts = machine._peek_domain(domain["struct"]) if len(domain["struct"]) == sizes[1] else None
        if facts is None:
            raise MachineError("a domain's struct has another size")
        numbers.append(facts["domid"])
        used |= {facts["pdx"], *(pdx for frames in domain["frames"] for pdx in frames)}
        used |= set(facts["lists"])
        _check_arrays(machine, facts, domain, sizes)
    if DOMID_IO not in numbers or len(set(numbers)) != len(numbers) or max(numbers) >= 0x8000:
        raise MachineError("its domains are not a set of domains")
    _check_tracks(machine, state, numbers)
    for pdx in used - {PAGE_LIST_NULL}:
        if not machine._pdx_ok(pdx):
            raise MachineError(f"its lists name pdx {pdx:#x}, which has no record")


def _check_arrays(machine: Machine, facts: dict[str, Any], domain: dict[str, Any], sizes: list[int]) -> None:
    import numpy as np

    frames = facts["nr_frames"]
    right = {
        "shared": frames * 4096,
        "status": frames * 512,
        "active": frames * 512 * sizes[2],
        "tracks": facts["nr_maptrack_frames"] * 512 * sizes[3],
        "iomem": facts["nr_iomem"] * 16,
        "p2m": facts["p2m_count"] * 16,
    }
    for name, size in right.items():
        if len(domain[name]) != size:
            raise MachineError(
                f"domain {facts['domid']}: its {name} has {len(domain[name])} bytes, not {size}"
            )
    counts = [frames, facts["nr_status_frames"], facts["nr_active_frames"], facts["nr_maptrack_frames"]]
    limits = (4096, 4096, 8 * 4096, 65536)
    if [len(f) for f in domain["frames"]] != counts or any(
        c > m for c, m in zip(counts, limits, strict=True)
    ):
        raise MachineError(f"domain {facts['domid']}: its grant frames do not add up")
    if frames > facts["max_frames"] or facts["nr_maptrack_frames"] > facts["max_maptrack_frames"]:
        raise MachineError(f"domain {facts['domid']}: more grant frames than its limit")
    if facts["max_frames"] > 4096 or facts["max_maptrack_frames"] > 65536 or facts["version"] not in (1, 2):
        raise MachineError(f"domain {facts['domid']}: an impossible grant table")
    if facts["maptrack_free"] != PAGE_LIST_NULL and facts["maptrack_free"] >= counts[3] * 512:
        raise MachineError(f"domain {facts['domid']}: a free handle that is none")
    pairs = np.frombuffer(domain["p2m"], dtype=np.uint64)
    if len(pairs) and int(pairs[::2].max()) >= 1 << 30:
        raise MachineError(f"domain {facts['domid']}: a gfn past the limit")
    if not all(machine._frame_ok(mfn) for mfn in pairs[1::2].tolist()):
        raise MachineError(f"domain {facts['domid']}: a frame that is none in its P2M")


def _check_tracks(machine: Machine, state: dict[str, Any], numbers: list[int]) -> None:
    # Every mapping names a domain and an entry that exist, every link of a free list a handle.
    import numpy as np

    from .audit import IO_FRAME, active_dtype, maptrack_dtype

    entries = {
        n: np.frombuffer(d["active"], dtype=active_dtype())
        for n, d in zip(numbers, state["domains"], strict=True)
    }
    for n, domain in zip(numbers, state["domains"], strict=True):
        tracks = np.frombuffer(domain["tracks"], dtype=maptrack_dtype())
        for ref, flags, owner, _ in tracks[tracks["flags"] != 0].tolist():
            known = ref < len(entries.get(owner, ())) and flags & 3
            if not known or not (flags & IO_FRAME or machine._frame_ok(int(entries[owner][ref]["mfn"]))):
                raise MachineError(f"domain {n} maps grant {ref:#x} of domain {owner}, which is not there")
        free = tracks["ref"][tracks["flags"] == 0]
        if len(free) and ((free >= len(tracks)) & (free != PAGE_LIST_NULL)).any():
            raise MachineError(f"domain {n}: a free handle that is none")
