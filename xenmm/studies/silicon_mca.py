"""llvm-mca's opinion of the compiled primitives, where it is installed."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..config import get_include

if TYPE_CHECKING:
    from .bench_c import Compiler
    from .bench_machine import Subject

_IS_X86: Final = platform.machine() in ("x86_64", "AMD64")
#: How the primitives are compiled, here and for measuring.
FLAGS: Final = ("-O2", "-falign-loops=64", *(["-fcf-protection=none"] if _IS_X86 else []))
#: LLVM's name for a microarchitecture of ours, or for the nearest that older versions know.
_MCA: Final = {
    "zen2": "znver2",
    "zen3": "znver3",
    "zen4": "znver3",
    "zen5": "znver3",
    "nehalem": "nehalem",
    "westmere": "westmere",
    "skylake-sp": "skylake-avx512",
    "icelake-sp": "icelake-server",
    "sapphire-rapids": "icelake-server",
}


def llvm_mca(
    record: dict[str, Any], compiler: Compiler, found: dict[str, Subject], folder: Path, uarch: str
) -> dict[str, Any]:
    """Put llvm-mca's figures into the rows, and say how they were made, or why not."""
    mca = shutil.which("llvm-mca") or next(
        (p for v in range(25, 10, -1) if (p := shutil.which(f"llvm-mca-{v}"))), None
    )
    if mca is None:
        return {"skipped": "llvm-mca is not installed"}
    if uarch not in _MCA or not _IS_X86:
        return {"skipped": f"llvm-mca is asked only about x86-64, and has no name for {uarch}"}
    for mode in found:
        text = _assembly(compiler, folder / mode, mode)
        for row in record["primitives"]:
            if row["mode"] != mode:
                continue
            body = function_body(text, f"code_{row['way']}_{row['primitive']}")
            if body is None:
                continue
            command = [mca, f"-mcpu={_MCA[uarch]}", "-iterations=200", "-"]
            # An address calculation of one cycle and not a move, which it would lose sight of.
            if row["latency"] is not None:
                row["latency_mca"] = _cycles(command, body + "\tleaq (%rax), %rdi\n", less=1)
            row["throughput_mca"] = _cycles(command, "\tleaq (%r15), %rdi\n" + body)
    version = subprocess.run([mca, "--version"], capture_output=True, text=True, check=False).stdout
    found_version = re.search(r"version (\S+)", version)
    return {
        "version": found_version[1] if found_version else "unknown",
        "mcpu": _MCA[uarch],
        "left_out": "code with branches, which it would run straight through",
    }


def _assembly(compiler: Compiler, place: Path, mode: str) -> str:
    source = Path(__file__).parent / "silicon.c"
    command = [compiler.path, "-std=gnu99", *FLAGS, f"-DMODE={mode}", f"-I{place}", f"-I{get_include()}"]
    done = subprocess.run(
        [*command, "-S", "-o", "-", str(source)], capture_output=True, text=True, check=False
    )
    return done.stdout


def function_body(assembly: str, name: str) -> str | None:
    """Return the instructions of a function up to its return; None if it is missing or has branches."""
    found = re.search(rf"^{name}:\n(.*?)^\tret", assembly, re.MULTILINE | re.DOTALL)
    if found is None:
        return None
    lines = [line for line in found[1].splitlines() if line.startswith("\t") and not line.startswith("\t.")]
    if any(re.match(r"\t(j|call)", line) for line in lines) or re.search(r"^\.L\d+:", found[1], re.MULTILINE):
        return None
    return "\n".join(lines) + "\n"


def _cycles(command: list[str], body: str, less: int = 0) -> float | None:
    done = subprocess.run(command, input=body, capture_output=True, text=True, check=False)
    cycles = re.search(r"^Total Cycles:\s+(\d+)", done.stdout, re.MULTILINE)
    return round(int(cycles[1]) / 200 - less, 2) if cycles else None
