"""The yardsticks in C: compiled here by the user's compiler, called through ctypes, their code sizes read."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .._embed import struct_values
from ..config import get_include
from .bench_machine import Subject

_HERE: Final = Path(__file__).parent
_MODES: Final = ("none", "mask", "offset")
#: Field of bench_plain.h and the boot parameter that it is; those of one 64-bit word.
_WORDS: Final = {
    "bottom": "pfn_pdx_bottom_mask",
    "top": "pfn_top_mask",
    "maddr_bottom": "ma_va_bottom_mask",
    "maddr_top": "ma_top_mask",
    "hole_shift": "pfn_pdx_hole_shift",
    "mfn_shift": "pfn_index_shift",
    "pdx_shift": "pdx_index_shift",
    "frame_table": "frametable_virt_start",
    "direct_map": "directmap_virt_start",
}
_TABLES: Final = {"subtracted": "pfn_pdx_lookup", "added": "pdx_pfn_lookup"}


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler that works here, and its own name for itself."""

    path: str
    version: str


def find_compiler() -> Compiler | None:
    """The compiler called cc, gcc or clang, or None."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return Compiler(path, done.stdout.partition("\n")[0])
    return None


class Yardstick:
    """Sources compiled for one subject, as a library to call and objects to look into.

    Attributes
    ----------
    library : ctypes.CDLL
        What was built.
    seconds : float
        How long the compiler took.
    """

    def __init__(
        self,
        compiler: Compiler,
        subject: Subject,
        folder: str | os.PathLike[str],
        *sources: str,
        flags: list[str],
    ) -> None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        (place / "bench_machine.h").write_text(machine_header(subject))
        (place / "machine_mm.h").write_text(subject.host.export("c"))
        self._place = place
        started = time.perf_counter()
        objects = []
        for source in sources:
            made = place / f"{source}.o"
            includes = [f"-I{place}", f"-I{_HERE}", f"-I{get_include()}"]
            command = [compiler.path, "-std=gnu99", "-fPIC", *flags, *includes, "-c", str(_HERE / source)]
            subprocess.run([*command, "-o", str(made)], check=True, capture_output=True)
            objects.append(str(made))
        target = place / "yardstick.so"
        subprocess.run(
            [compiler.path, "-shared", *objects, "-o", str(target)], check=True, capture_output=True
        )
        self.seconds = time.perf_counter() - started
        self.library: Any = ctypes.CDLL(str(target))

    def symbol_bytes(self, source: str) -> dict[str, int]:
        """Bytes of code of each function of a source, from its object file."""
        return function_sizes((self._place / f"{source}.o").read_bytes())


def machine_header(subject: Subject) -> str:
    """The machine's parameters for the yardsticks: as macros, and as the fields of a struct."""
    values = struct_values(subject.host.capsule)
    mode = subject.compression
    lines = ["#include <stdint.h>", f"#define BENCH_MODE {_MODES.index(mode)}"]
    lines.append(f"#define GENERIC(name) xenmm_{mode}_##name")
    words = {field: values[name] for field, name in _WORDS.items()}
    tables = {field: values[name] for field, name in _TABLES.items()}
    lines += [f"#define K_{field} UINT64_C({value:#x})" for field, value in words.items()]
    initialisers = {f: "{" + ", ".join(f"UINT64_C({v:#x})" for v in t) + "}" for f, t in tables.items()}
    if mode == "offset":
        lines += [f"static const uint64_t K_{field}[64] = {text};" for field, text in initialisers.items()]
    lines.append("struct bench_parameters {")
    lines += [f"    uint64_t {field};" for field in words]
    lines += [f"    uint64_t {field}[64];" for field in tables]
    lines.append("};")
    fields = [f"UINT64_C({value:#x})" for value in words.values()] + list(initialisers.values())
    lines.append(f"#define BENCH_PARAMETERS {{ {', '.join(fields)} }}")
    return "\n".join(lines) + "\n"


def function_sizes(elf: bytes) -> dict[str, int]:
    """Sizes of the functions in a 64-bit little-endian ELF object, from its symbol table (ELF-64, 1998)."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return {}
    section_offset = struct.unpack_from("<Q", elf, 40)[0]
    entry, count = struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, section_offset + i * entry) for i in range(count)]
    sizes = {}
    for _, kind, _, _, offset, size, link, _, _, step in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, step):
            name, info, _, _, _, length = struct.unpack_from("<IBBHQQ", elf, at)
            if info & 15 == 2:  # STT_FUNC
                end = elf.index(b"\0", names + name)
                sizes[elf[names + name : end].decode()] = length
    return sizes
