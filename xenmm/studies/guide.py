"""``xenmm`` alone: what it can tell of this very machine, and which commands there are, on one screen."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import command

if TYPE_CHECKING:
    import argparse

    from ..firmware.memory_map import MemoryMap
    from ..firmware.this_machine import ThisMachine

_GUIDE: Final = (
    ("report FILE", "what every table costs, step by step; hazards"),
    ("convert FILE mfn:0x100", "a frame's other forms: pdx, page, maddr, virt"),
    ("export FILE --format F", "the map in another format; constants for C"),
    ("steps FILE", "the 2009 series on a live machine, step by step"),
    ("replay FILE TRACE", "a trace's time: caches, TLBs, page walks"),
    ("bench --quick", "conversions timed beside their peers"),
    ("machines", "the bundled machines, each a FILE by its name"),
    ("--help", "every command; FILE: a log, -, or this-machine"),
)
_PROFILES: Final = ("pre", "ext5t", "xen-offset")
#: Reasons longer than this are cut: the screen is one screen.
_WHY_MAX: Final = 60
_REFUSALS_MAX: Final = 2
_NOTES_MAX: Final = 2


def run(args: argparse.Namespace) -> int:
    """Show the screen."""
    from ..firmware.this_machine import read_this_machine

    command.show(lines(read_this_machine(), command.text_width(args)), args)
    return command.EXIT_DONE


def lines(machine: ThisMachine, width: int = 80) -> list[str]:
    """The screen's lines: this machine, or why not and a bundled one; then the commands.

    Parameters
    ----------
    machine : ThisMachine
        What this machine said.
    width : int
        Columns.
    """
    from ..firmware import read_map
    from ..maps import DEFAULT_MAP, path
    from ..report.inputs import ASK_AS_ROOT
    from ..report.layout import printable, sections, titled, wrap

    if machine.memory_map is not None:
        read = ", ".join(str(p) for p in machine.places if not p.why)
        shown = [titled(printable(machine.memory_map.name)), *_summary(machine.memory_map, read, width)]
        return sections([shown, *_commands("this-machine")])
    there = [f"{p.path}: {p.why[:_WHY_MAX]}" for p in machine.refusals if p.why != "not there"]
    refused = "; ".join(there[:_REFUSALS_MAX]) or "none of Linux's places for it is there"
    said = f"This machine does not tell its memory to this user ({refused}). As root it may:"
    how = [f"  {as_root()}", f"  {ASK_AS_ROOT}"]
    until = [f"Until then, the bundled machine {DEFAULT_MAP}:"]
    until += _summary(read_map(path(DEFAULT_MAP)), "", width, notes=0)
    return sections([[*wrap(said, width), *how], until, *_commands(DEFAULT_MAP)])


def as_root() -> str:
    """The command that runs this program as root, whose path need not lead to it."""
    found = shutil.which(sys.argv[0]) if os.path.basename(sys.argv[0]) == "xenmm" else None
    if found is None:
        return f"sudo {sys.executable} -m xenmm"
    absolute = os.path.abspath(found)
    return "sudo xenmm" if Path(absolute).parent in _ROOTS_PATH else f"sudo {absolute}"


_ROOTS_PATH: Final = (Path("/usr/bin"), Path("/usr/local/bin"), Path("/bin"))


def _summary(memory_map: MemoryMap, read: str, width: int, notes: int = _NOTES_MAX) -> list[str]:
    from ..boot.hazards import SEVERITIES
    from ..report.inputs import Input
    from ..report.layout import labelled, printable
    from ..report.overhead import make_report
    from ..report.text import machine_facts

    report = make_report(memory_map, Input(read, None, None, False, {}), profiles=list(_PROFILES))
    found = {(h.severity, h.text) for host in report.hosts for h in host.hazards if h.severity != "note"}
    severities = [severity for severity, _ in found]
    counts = [f"{severities.count(s)} {s}" for s in SEVERITIES if s in severities]
    hazards = f"{', '.join(counts)}: xenmm report tells them" if counts else "none"
    told = [(n.level, printable(n.text)) for n in memory_map.notes[:notes]]
    facts = machine_facts(report)[0 if read else 1 :]
    return labelled([*facts, ("hazards", hazards), *told], width)


def _commands(example: str) -> list[list[str]]:
    from ..report.layout import table, titled

    rows = table([(f"xenmm {words}", text) for words, text in _GUIDE], left=2, heads=0, indent="  ")
    return [[titled(f"Try: xenmm report {example}"), *rows]]
