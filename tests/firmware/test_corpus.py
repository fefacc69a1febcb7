"""Every log of the corpus is read, or refused, exactly as the hand-verified truth says."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from xenmm.errors import MemoryMapError
from xenmm.firmware import read_map
from xenmm.firmware.memory_map import SRAT_ENABLED, SRAT_HOTPLUG, MemoryMap, merge

CORPUS = os.environ.get("XENMM_CORPUS")
FLAGS = {"": SRAT_ENABLED, "hotplug": SRAT_ENABLED | SRAT_HOTPLUG}


def _truth() -> list[tuple[Path, dict]]:
    if not CORPUS:
        return []
    truth = json.loads((Path(CORPUS) / "maps" / "truth.json").read_text())
    return [
        (Path(CORPUS) / folder / case["file"], case)
        for folder, key in (("maps", "maps"), ("xen-boots", "xen_boots"))
        for case in truth[key]
    ]


def _states_totals(case: dict) -> bool:
    return case["outcome"] in ("map", "partial") and isinstance(case.get("cross_check"), list)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = _truth()
    if not cases:
        skip = pytest.mark.skip("XENMM_CORPUS is not set; the logs are not ours to ship")
        metafunc.parametrize(("path", "case"), [pytest.param(None, None, marks=skip)], ids=["corpus"])
        return
    if "stated_total" in metafunc.function.__name__:
        cases = [c for c in cases if _states_totals(c[1])]
    metafunc.parametrize(("path", "case"), cases, ids=[case["file"] for _, case in cases])


def _same_map(found: MemoryMap, ram: list, case: dict) -> bool:
    if [list(r) for r in found.ram] != (ram or []):
        return False
    return case["ram_bytes"] is None or found.ram_bytes == sum(end - start for start, end in ram or [])


def _other(found: MemoryMap) -> dict[str, list[list[int]]]:
    kinds: dict[str, list[tuple[int, int]]] = {}
    for row in found.ranges:
        if row.kind != "ram":
            kinds.setdefault(row.label, []).append((row.start, row.end))
    return {label: [list(r) for r in merge(rows)] for label, rows in kinds.items()}


def test_log_is_read_as_the_truth_says(path: Path, case: dict) -> None:
    try:
        found = read_map(path)
    except MemoryMapError as error:
        refusals = [a for a in case.get("alternatives", ()) if a["acceptable"] is True and not a["ram"]]
        assert case["outcome"] == "refuse" or refusals, f"not to be refused: {error}"
        assert str(error).startswith(str(path)), "an error names the file"
        return
    readings = [case["ram"]] + [a["ram"] for a in case.get("alternatives", ()) if a["acceptable"] is True]
    if case["outcome"] == "refuse":
        assert not found.ram
        assert found.notes
        return
    assert any(_same_map(found, ram, case) for ram in readings), found.ram
    if [list(r) for r in found.ram] != (case["ram"] or []):
        return
    if case["outcome"] != "srat-only":
        assert found.ram_bytes == case["ram_bytes"]
        assert found.top == case.get("top", found.top)
    # A row of /proc/iomem is one of many resources: the truth lists its RAM alone.
    if case["outcome"] != "srat-only" and found.format != "iomem":
        assert sum(r.kind == "ram" for r in found.ranges) == case["ram_raw_rows"]
        if "other" in case:
            assert _other(found) == (case["other"] or {})
    srat = None if found.srat is None else sorted([r.start, r.end, r.node, r.flags] for r in found.srat)
    expected = case.get("srat")
    assert srat == (expected and sorted([a, b, n, FLAGS.get(f, f)] for a, b, n, f in expected))
    if case.get("srat_pxm"):
        assert [r.pxm for r in found.srat or ()] == case["srat_pxm"]
    incomplete = case["outcome"] == "partial"
    assert any(n.level == "dropped" for n in found.notes) or not incomplete, "what is missing is said"


STAMP = re.compile(r"\[ *\d+\.\d{6}\] ?")


def _each_line(prefix: str, suffix: str = "") -> Callable[[str], str]:
    return lambda text: "\n".join(prefix + line + suffix for line in text.split("\n"))


#: What consoles, mailers and web pages do to a log without changing what it says.
CHANGES: dict[str, Callable[[str], str]] = {
    "CR LF": lambda text: text.replace("\n", "\r\n"),
    "CR CR LF": lambda text: text.replace("\n", "\r\r\n"),
    "quoted": _each_line("> "),
    "quoted thrice": _each_line("> > >"),
    "indented": _each_line("    "),
    "tab": _each_line("\t"),
    "blanks behind": _each_line("", "   "),
    "non-breaking blanks": lambda text: text.replace(" ", "\xa0"),
    "byte order mark": lambda text: "\ufeff" + text,
    "level": _each_line("<6>"),
    "syslog": _each_line("Jan  3 04:05:06 host1 kernel: "),
    "journal": _each_line("2024-01-02T03:04:05.678901+00:00 host1 kernel: "),
    "console's clock": _each_line("[2024-01-02 03:04:05] "),
    "upper case": lambda text: re.sub(
        r"(?<=\b0x)[0-9a-f]+\b|\b[0-9a-f]{8,16}\b", lambda m: m[0].upper(), text
    ),
    "dmesg -T": lambda text: STAMP.sub("[Tue Jan  9 03:12:44 2024] ", text),
    "no stamps": lambda text: STAMP.sub("", text),
    "caller": lambda text: re.sub(r"(\[ *\d+\.\d{6}\])", r"\1[    T0]", text),
    "HTML": lambda text: "<pre>" + text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    "HTML breaks": lambda text: text.replace("\n", "<br>\n"),
    "terminal": _each_line("\x1b[0m", "\x1b[K"),
    "letter around": lambda text: f"Hi all,\n\nthe RAM: of my machine.\n\n{text}\n\nRegards\n",
    "no last line end": lambda text: text.rstrip("\n"),
    "sent twice": lambda text: f"{text}\n\n--- next message ---\n\n{text}",
}
#: How many of the changes each log is put through; every change meets many logs.
_CHANGES_A_LOG = 6


def _reading(text: str) -> object:
    try:
        found = read_map(text)
    except MemoryMapError:
        return None
    others = sorted((r.start, r.end, r.kind) for r in found.ranges if r.kind != "ram")
    return found.ram, others, sorted((r.start, r.end, r.node, r.flags) for r in found.srat or ())


def test_what_mailers_and_consoles_do_changes_nothing(path: Path, case: dict) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    expected = _reading(text)
    names = list(CHANGES)
    first = sum(map(ord, case["file"]))
    for step in range(_CHANGES_A_LOG):
        name = names[(first + step * 4) % len(names)]
        assert _reading(CHANGES[name](text)) == expected, name


def test_every_range_names_its_line(path: Path, case: dict) -> None:
    try:
        found = read_map(path)
    except MemoryMapError:
        return
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    for row in (*found.ranges, *(found.srat or ())):
        assert row.source is not None and row.source.file == str(path)
        assert row.source.line is not None
        digits = f"{row.start:x}"
        assert digits in " ".join(lines[row.source.line - 1 : row.source.line + 2]).lower()


def test_stated_total_is_that_of_the_truth(path: Path, case: dict) -> None:
    stated = read_map(path).stated
    known = {
        "Xen System RAM kB (whole pages)": stated.ram_bytes and stated.ram_bytes // 1024,
        "last_pfn": stated.last_pfn,
        "Memory: total K": stated.details.get("present_bytes", 0) // 1024,
        "System RAM MB (crashkernel line)": stated.details.get("crashkernel_total_mib"),
    }
    for check in case["cross_check"]:
        if check["what"] in known:
            assert known[check["what"]] == check["stated"]


def test_stated_total_that_disagrees_is_a_warning_and_no_other(path: Path, case: dict) -> None:
    # What the kernel's own map explains is no disagreement of the firmware's.
    wrong = [
        c
        for c in case["cross_check"]
        if c["agrees"] is False and c["what"] in ("Memory: total K", "last_pfn")
    ]
    wrong = [c for c in wrong if "follows the user map" not in c["note"]]
    warned = [n for n in read_map(path).notes if n.level == "warning" and "the log states" in n.text]
    assert bool(warned) == bool(wrong), (warned, wrong)
