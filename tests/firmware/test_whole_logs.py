"""Whole logs as consoles, journals, mailers and trackers leave them, each read as worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenmm.errors import MemoryMapError
from xenmm.firmware import read_map
from xenmm.firmware.memory_map import SRAT_HOTPLUG, SRAT_NONVOLATILE, SratRange

DATA = Path(__file__).parents[1] / "data" / "whole-logs.txt"


def _logs() -> dict[str, tuple[str, str, str]]:
    """The logs by name: (text, RAM, SRAT rows); the file's first lines tell its form."""
    logs = {}
    for part in DATA.read_bytes().decode().split("\n%%%% ")[1:]:
        name, ram, srat, text = part.split("\n", 3)
        logs[name] = (text, ram.removeprefix("%% ram").strip(), srat.removeprefix("%% srat").strip())
    return logs


LOGS = _logs()


def _row(row: SratRange) -> str:
    flags = "+" * bool(row.flags & SRAT_HOTPLUG) + "!" * bool(row.flags & SRAT_NONVOLATILE)
    return f"{row.node}:{row.start:x}-{row.end:x}{flags}"


@pytest.mark.parametrize("name", LOGS)
def test_a_log_is_read_as_a_person_reads_it(name: str) -> None:
    text, ram, srat = LOGS[name]
    if not ram and not srat:
        with pytest.raises(MemoryMapError):
            read_map(text)
        return
    found = read_map(text)
    assert " ".join(f"{a:x}-{b:x}" for a, b in found.ram) == ram
    assert " ".join(_row(row) for row in found.srat or ()) == srat
    assert ram or any("SRAT rows only" in n.text for n in found.notes)
