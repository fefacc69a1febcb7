"""What a replay shows on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..report.layout import LABEL, heading, marked, plural, printable, sections, wrap
from ..report.layout import table as columns
from ..timing.curves import Point
from ..timing.result import Result


def summary(result: Result, width: int = 80) -> list[str]:
    """Return one run in words and columns, as lines."""
    machine = printable(f"{result.hierarchy.name}; {result.space['name']}")
    lines = [*_input(result, width), *wrap(f"microarchitecture {machine}", width, "", "  "), ""]
    accesses = sum(result.accesses.values())
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in result.accesses.items() if n)
    lines += [f"{plural(accesses, 'access', 'accesses')} counted: {kinds or 'none'}", ""]
    lines += columns(_tables(result))
    walks = result.walks
    if walks.walks:
        sizes = ", ".join(f"{n:,} to {size} pages" for size, n in walks.by_page_size.items() if n)
        entries = plural(walks.reads, "entry", "entries")
        lines += ["", *wrap(f"{plural(walks.walks, 'page walk')} ({sizes}) read {entries}", width, "", "  ")]
    memory = result.memory
    lines += ["", f"memory: {memory['reads']:,} lines read, {memory['writes']:,} written", ""]
    return [*lines, *_time(result, accesses, width)]


def comparison(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int = 80) -> list[str]:
    """Return how runs differ: a line a figure, the first run's value and the others' ratios."""
    if not rows:
        return ["The runs do not differ."]
    table = [["", *names]]
    for row in rows:
        values = row["values"]
        cells = [row["figure"], _number(values[names[0]])]
        for name in names[1:]:
            ratio = row["ratios"][name]
            cells.append(_number(values[name]) + (f" ({ratio:.3f}x)" if ratio is not None else ""))
        table.append(cells)
    return sections(columns([[row[i] for i in block] for row in table]) for block in _blocks(table, width))


def curve_lines(curves: Mapping[str, Sequence[Point]], table: str) -> list[str]:
    """Return miss curves as a table: a row for each size, a column for each run."""
    sizes = list(dict.fromkeys(p.size for points in curves.values() for p in points))
    rates = {name: {p.size: p.miss_rate for p in points} for name, points in curves.items()}
    rows = [[f"{table}, size", *curves]]
    for amount in sizes:
        cells = [f"{100 * rates[n][amount]:.2f} %" if amount in rates[n] else "" for n in curves]
        rows.append([f"{amount:,}", *cells])
    return ["", *heading(f"Miss rate against the size of {table}, all else as configured"), *columns(rows)]


def _blocks(table: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    # Columns that fit a terminal together: the figure and the first run, then one more run at least.
    widths = [2 + max(len(row[i]) for row in table) for i in range(len(table[0]))]
    blocks: list[list[int]] = []
    for i in range(2, len(widths)):
        if not blocks or sum(widths[j] for j in blocks[-1]) + widths[i] > width + 2:
            blocks.append([0, 1])
        blocks[-1].append(i)
    return blocks


def _input(result: Result, width: int) -> list[str]:
    given = result.input
    if "workload" in given:
        values = ", ".join(f"{k}={v}" for k, v in given["parameters"].items())
        what = f"workload {given['workload']} ({values or 'no parameters'}; seed {given['seed']})"
        return [*wrap(what, width, "", "  "), *wrap(given["sentence"], width, "", "  ")]
    trace = given["trace"]
    lines = [
        printable(f"trace {trace['file']} ({trace['format']})"),
        *wrap(f"an address is {given['rule']}", width, "", "  "),
    ]
    if trace["bad"]:
        lines.append(f"not simulated: {plural(trace['bad'], 'bad line')}")
    if given["unmapped"]:
        first = ", ".join(given["first_unmapped"][:3]) + (", ..." if given["unmapped"] > 3 else "")
        addresses = plural(given["unmapped"], "unmapped address", "unmapped addresses")
        lines += wrap(f"not simulated: {addresses} ({first})", width, "", "  ")
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


def _time(result: Result, accesses: int, width: int) -> list[str]:
    cycles, overlapped = result.cycles, result.overlapped
    each = f", {cycles['total'] / accesses:.2f} an access" if accesses else ""
    lines = [f"serial: {cycles['total']:,} cycles{each}"]
    for cause, n in cycles.items():
        if n and cause != "total":
            line = f"  {cause:<12} {n:>18,} {100 * n / cycles['total']:6.2f} %"
            lines.append(marked(line, (2, 2 + len(cause), LABEL)))
    lines.append(f"overlapped, at least: {overlapped['total']:,} cycles, bound by {overlapped['bound_by']}")
    return [*lines, *wrap(f"({overlapped['assumption']})", width, "  ", "   ")]


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
