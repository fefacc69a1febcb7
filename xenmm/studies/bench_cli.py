"""``xenmm bench``: its arguments, and a record as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from ..progress import Meter
from ..report.layout import joined, mark_word, sections, table
from . import command, silicon_cli

if TYPE_CHECKING:
    import argparse

    from ..firmware.memory_map import MemoryMap

_NOTES: Final = """\
Measures on the machine's own frames; a compression that does nothing there is
measured on a bundled machine. Needs a C compiler for the peers in C, and numba
and unicorn for theirs; what is missing is named and left out."""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "bench",
        run,
        "time conversions against memcpy, C, NumPy, numba and Python; frozen against variable parameters",
        "bench --quick",
        "bench server.dmesg --json record.json",
        "bench --check --only arrays",
        notes=_NOTES,
    )
    command.add_input(parser, optional="a bundled machine")
    parser.add_argument("--quick", action="store_true", help="under 20 seconds, no array above 8 MiB")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 when a target is missed by more than the noise"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="PART",
        help="only this part, may be given again: arrays, threads, calls, inline, freezing, baking, "
        "unicorn, startup",
    )
    parser.add_argument(
        "--record", metavar="FILE", help="measure nothing: show, check or plot a record that --json wrote"
    )
    command.add_output(parser, width=False)
    command.add_plot(parser, "the roofline of the conversions")
    silicon_cli.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure as the arguments say; 1 when ``--check`` finds a target missed, else 0."""
    if args.silicon or args.predict or args.uarch is not None:
        return silicon_cli.run(args)
    command.ensure_plot(args)
    record = _recorded(args.record) if args.record is not None else _measured(args)
    command.output(args, lambda width: lines(record), lambda: record)
    if args.plot is not None:
        from ..report.plot_time import roofline_figure

        command.plot(args, lambda width: roofline_figure(record, width))
    missed = [t for t in record["targets"] if not t["met"]]
    if args.check and args.json == "-":
        for target in missed:
            command.complain(f"missed: {_target(target)}")
    return command.EXIT_NEGATIVE if args.check and missed else command.EXIT_DONE


def _recorded(path: str) -> dict[str, Any]:
    import json

    from .bench import RECORD_SCHEMA

    with open(path, encoding="utf-8") as file:
        try:
            record = json.load(file)
        except ValueError as error:
            raise ConfigError(f"{path}: no JSON: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != RECORD_SCHEMA:
        raise ConfigError(f"{path}: no record of xenmm bench (schema {RECORD_SCHEMA}); --json writes one")
    return record


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    from . import bench

    effort = bench.Effort.quick() if args.quick else bench.Effort.full()
    parts = tuple(args.only) if args.only else bench.PARTS
    machines = _machines(args)
    command.ensure_output(args.json)
    with Meter("measuring", "part", total=len(parts), at_once=True) as meter:
        return bench.run(*machines, effort, parts=parts, progress=meter.stage)


def _machines(args: argparse.Namespace) -> tuple[MemoryMap, MemoryMap]:
    from ..firmware import read_map
    from ..maps import DEFAULT_MAP, bundled

    fallback = read_map(bundled()[DEFAULT_MAP])
    return fallback if args.file is None else command.load_ram(args)[0], fallback


def render(record: dict[str, Any]) -> str:
    """A record as text, as :func:`lines` has it."""
    return joined(lines(record))


def lines(record: dict[str, Any]) -> list[str]:
    """A record as lines: where it was made, a table for each part, and the targets that are missed."""
    parts = [_surroundings(record)]
    for part, rows_of in (
        ("arrays", _arrays),
        ("threads", _threads),
        ("calls", _calls),
        ("inline", _inline),
        ("freezing", _freezing),
        ("baking", _baking),
        ("unicorn", _unicorn),
        ("startup", _startup),
    ):
        if record.get(part):
            parts.append(rows_of(record[part]))
    return sections([*parts, _targets(record["targets"])])


def _surroundings(record: dict[str, Any]) -> list[str]:
    commit = record["commit"] or "unknown (installed)"
    lines = [
        f"xenmm {record['xenmm']}, commit {commit}, {record['seconds']:.0f} s",
        f"{record['cpu']}, {record['cpus']} CPUs, {record['system']}, Python {record['python']}",
        f"array loops {record['array_loops']}; {record['compiler'] or 'no C compiler: no peers in C'}",
        ", ".join(f"{k} {v or 'not installed'}" for k, v in record["packages"].items()),
    ]
    lines += [f"{c}: {m['machine']}, {m['profile']}" for c, m in record["machines"].items()]
    return [*lines, "Every time is the least of many samples of CPU time, taken in turn."]


def _pivot(
    rows: list[dict[str, Any]], row_key: str, column_key: str, value: str, digits: int
) -> list[list[str]]:
    # A row for each value of row_key, a column for each of column_key, both in the order met.
    columns = list(dict.fromkeys(r[column_key] for r in rows))
    cells = {(r[row_key], r[column_key]): f"{r[value]:.{digits}f}" for r in rows}
    names = dict.fromkeys(r[row_key] for r in rows)
    return [[str(name), *(cells.get((name, c), "") for c in columns)] for name in names]


def _arrays(rows: list[dict[str, Any]]) -> list[str]:
    from .bench_targets import size_name

    lines = ["Arrays, as multiples of memcpy of the same bytes (in and out apart unless said)"]
    for compression, data in dict.fromkeys((r["compression"], r["data"]) for r in rows):
        some = [r for r in rows if (r["compression"], r["data"]) == (compression, data)]
        sizes = dict.fromkeys(r["bytes"] for r in some)
        head = [f"{compression}, {data} frames", *(size_name(n) for n in sizes)]
        lines += ["", *table([head, *_pivot(some, "task", "bytes", "of_memcpy", 2)])]
    return lines


def _threads(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"Two threads on two halves of {row['bytes'] >> 20} MiB: {row['speedup']:.2f} times as fast as one"
        f" (load of the machine: {row['load']:.1f})"
        for row in rows
    ]


def _calls(rows: list[dict[str, Any]]) -> list[str]:
    head = ["One call from Python, ns", *dict.fromkeys(r["compression"] for r in rows)]
    return table([head, *_pivot(rows, "call", "compression", "ns", 1)])


def _inline(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "One conversion inline, ns (the parameters as constants or variables, by hand or by the headers)"
    ]
    for compression, kind in dict.fromkeys((r["compression"], r["kind"]) for r in rows):
        some = [r for r in rows if (r["compression"], r["kind"]) == (compression, kind)]
        head = [f"{compression}, {kind}", *dict.fromkeys(r["conversion"] for r in some)]
        lines += ["", *table([head, *_pivot(some, "way", "conversion", "ns", 2)])]
    return lines


def _freezing(rows: list[dict[str, Any]]) -> list[str]:
    head = ["A grant mapped and undone", "calls", "ns", "of variables", "bytes of code"]
    body = [
        [
            f"{r['compression']}, {r['way']}",
            r["calls"],
            f"{r['ns']:.2f}",
            f"{r['of_variables']:.2f}",
            str(r["code_bytes"] or "?"),
        ]
        for r in rows
    ]
    return table([head, *body])


def _baking(rows: list[dict[str, Any]]) -> list[str]:
    return table([["Baking constants in, once", "ms"], *([r["way"], f"{r['ms']:.1f}"] for r in rows)])


def _unicorn(rows: list[dict[str, Any]]) -> list[str]:
    head = ["Unicorn, TLB fills", "million/s"]
    return table([head, *([f"{r['callback']} callback", f"{r['million_fills_per_s']:.2f}"] for r in rows)])


def _startup(rows: list[dict[str, Any]]) -> list[str]:
    head = ["Until it is there: whole processes", "ms", "of Python's own"]
    return table([head, *([r["what"], f"{r['ms']:.1f}", f"{r['of_python']:.2f}"] for r in rows)])


def _target(target: dict[str, Any]) -> str:
    word = "at least" if target["at_least"] else "at most"
    limit = f"{word} {target['limit']:g}, noise {100 * (target['noise'] - 1):.0f}%"
    return f"{target['name']}: {target['measured']:.2f} ({limit})"


def _targets(targets: list[dict[str, Any]]) -> list[str]:
    missed = [t for t in targets if not t["met"]]
    lines = [f"{len(targets) - len(missed)} of {len(targets)} targets met; missed by more than the noise:"]
    if not missed:
        lines[0] = lines[0].partition(";")[0]
    return lines + [mark_word(f"  {_target(t)}", t["name"], "missed") for t in missed]
