"""What a replay shows on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..report.layout import plural, printable, wrap
from ..timing.result import Result

_WIDTH = 79


def summary(result: Result) -> str:
    """Return one run in words and columns."""
    machine = printable(f"{result.hierarchy.name}; {result.space['name']}")
    lines = [*_input(result), *wrap(f"microarchitecture {machine}", _WIDTH, "", "  "), ""]
    accesses = sum(result.accesses.values())
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in result.accesses.items() if n)
    lines += [f"{plural(accesses, 'access', 'accesses')} counted: {kinds or 'none'}", ""]
    lines += _columns(_tables(result))
    walks = result.walks
    if walks.walks:
        sizes = ", ".join(f"{n:,} to {size} pages" for size, n in walks.by_page_size.items() if n)
        entries = plural(walks.reads, "entry", "entries")
        lines += ["", *wrap(f"{plural(walks.walks, 'page walk')} ({sizes}) read {entries}", _WIDTH, "", "  ")]
    memory = result.memory
    lines += ["", f"memory: {memory['reads']:,} lines read, {memory['writes']:,} written", ""]
    return "\n".join([*lines, *_time(result, accesses)]) + "\n"


def comparison(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return how runs differ: a line a figure, the first run's value and the others' ratios."""
    if not rows:
        return "The runs do not differ.\n"
    table = [["", *names]]
    for row in rows:
        values = row["values"]
        cells = [row["figure"], _number(values[names[0]])]
        for name in names[1:]:
            ratio = row["ratios"][name]
            cells.append(_number(values[name]) + (f" ({ratio:.3f}x)" if ratio is not None else ""))
        table.append(cells)
    blocks = ["\n".join(_columns([[row[i] for i in block] for row in table])) for block in _blocks(table)]
    return "\n\n".join(blocks) + "\n"


def _blocks(table: Sequence[Sequence[str]]) -> list[list[int]]:
    # Columns that fit a terminal together: the figure and the first run, then one more run at least.
    widths = [2 + max(len(row[i]) for row in table) for i in range(len(table[0]))]
    blocks: list[list[int]] = []
    for i in range(2, len(widths)):
        if not blocks or sum(widths[j] for j in blocks[-1]) + widths[i] > _WIDTH + 2:
            blocks.append([0, 1])
        blocks[-1].append(i)
    return blocks


def _input(result: Result) -> list[str]:
    given = result.input
    if "workload" in given:
        values = ", ".join(f"{k}={v}" for k, v in given["parameters"].items())
        what = f"workload {given['workload']} ({values or 'no parameters'}; seed {given['seed']})"
        return [*wrap(what, _WIDTH, "", "  "), *wrap(given["sentence"], _WIDTH, "", "  ")]
    trace = given["trace"]
    lines = [
        printable(f"trace {trace['file']} ({trace['format']})"),
        *wrap(f"an address is {given['rule']}", _WIDTH, "", "  "),
    ]
    if trace["bad"]:
        lines.append(f"not simulated: {plural(trace['bad'], 'bad line')}")
    if given["unmapped"]:
        first = ", ".join(given["first_unmapped"][:3]) + (", ..." if given["unmapped"] > 3 else "")
        addresses = plural(given["unmapped"], "unmapped address", "unmapped addresses")
        lines += wrap(f"not simulated: {addresses} ({first})", _WIDTH, "", "  ")
    return lines


def _tables(result: Result) -> list[list[str]]:
    table = [["", "hits", "misses", "miss rate", "write-backs"]]
    for name, cache in result.caches.items():
        table.append([name, *_counts(cache.hits, cache.misses), f"{cache.writebacks:,}"])
    for name, tlb in result.tlbs.items():
        for size, (hits, misses) in tlb.by_page_size.items():
            if hits + misses:
                table.append([f"{name} {size}", *_counts(hits, misses), ""])
    return table


def _counts(hits: int, misses: int) -> list[str]:
    rate = f"{100 * misses / (hits + misses):.2f} %" if hits + misses else "-"
    return [f"{hits:,}", f"{misses:,}", rate]


def _time(result: Result, accesses: int) -> list[str]:
    cycles, overlapped = result.cycles, result.overlapped
    each = f", {cycles['total'] / accesses:.2f} an access" if accesses else ""
    lines = [f"serial: {cycles['total']:,} cycles{each}"]
    for cause, n in cycles.items():
        if n and cause != "total":
            lines.append(f"  {cause:<12} {n:>18,} {100 * n / cycles['total']:6.2f} %")
    lines.append(f"overlapped, at least: {overlapped['total']:,} cycles, bound by {overlapped['bound_by']}")
    return [*lines, *wrap(f"({overlapped['assumption']})", _WIDTH, "  ", "   ")]


def _columns(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
