"""``xenmm steps``: its arguments, and the table as text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from .steps import Step, StepsTable

_HELP = "run a workload under each of the seven steps of the 2009 series: memory, conversions, what changed"
_EXAMPLES = """\
examples:
  xenmm steps dell-r930
  xenmm steps server.dmesg --workload grant-storm --size 100000
  xenmm steps server.dmesg --record record.json --json -

Steps 1 to 4 change what the tables cost, 5 to 7 what the same work costs. Cycles are those of the
conversions, modelled with everything in the first cache: latency-bound / throughput-bound. Bytes of code
are those of the project's committed record of xenmm bench, or of yours (--record)."""

#: The names of steps.WORKLOADS, repeated so that the parser need not import it; a test compares.
WORKLOADS = ("grant-storm", "page-scrub", "domain-build", "balloon", "dying-release", "mixed")


def add_parser(subparsers: Any) -> Any:
    """Add the command to the subparsers of ``xenmm``; the parser's ``command`` default is :func:`command`."""
    import argparse

    parser = subparsers.add_parser(
        "steps",
        help=_HELP,
        description=_HELP[0].upper() + _HELP[1:] + ".",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "file", metavar="FILE", help="a log, table or blob; - for standard input; or a bundled name"
    )
    parser.add_argument(
        "--workload", choices=WORKLOADS, default="mixed", help="what the machine does (default: mixed)"
    )
    parser.add_argument(
        "--size", type=int, default=4096, metavar="N", help="pages it works on (default: 4096)"
    )
    parser.add_argument(
        "--page-sizes", choices=("2m", "1g"), default="1g", help="the CPU's largest page (default: 1g)"
    )
    parser.add_argument(
        "--uarch", default="zen3", metavar="NAME", help="core whose cycles are shown, or none (default: zen3)"
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="a record of xenmm bench, for bytes of code, or none (default: the committed one)",
    )
    parser.add_argument(
        "--json", metavar="DEST", help="write JSON to this file; - writes it instead of the text"
    )
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(command=command)
    return parser


def command(args: argparse.Namespace) -> int:
    """Run the steps and show them."""
    import json

    from ..report.inputs import load, need_ram
    from .steps import COMMITTED_RECORD, steps

    data = sys.stdin.buffer.read() if args.file == "-" else None
    memory_map, given = load(args.file, data)
    table = steps(
        need_ram(memory_map, given.name),
        args.workload,
        size=args.size,
        page_sizes=args.page_sizes,
        uarch=None if args.uarch == "none" else args.uarch,
        record=None if args.record == "none" else args.record or COMMITTED_RECORD,
    )
    text = json.dumps(table.to_dict(), indent=1) + "\n"
    if args.json is not None and args.json != "-":
        with open(args.json, "w", encoding="utf-8") as file:
            file.write(text)
    sys.stdout.write(text if args.json == "-" else render(table))
    return 0


def render(table: StepsTable) -> str:
    """The table as text: memory, then work, then what each step changed."""
    from ..report.layout import heading, printable, size
    from ..report.layout import table as columns

    lines = [
        f"{printable(table.machine or 'unnamed')}: {size(table.ram_bytes)} of RAM; "
        f"workload {table.workload}, {table.size:,} pages",
        "",
        *columns([("step", "memory", "percent", "virtual space"), *(_memory(s) for s in table.steps)]),
        "",
        *columns(
            [
                ("step", "operations", "conversions", "parameter reads", "cycles", "code bytes"),
                *(_work(s) for s in table.steps),
            ]
        ),
        "",
        *heading("What changed against the step before"),
    ]
    for step in table.steps[1:]:
        lines.append(f"{step.profile}: {step.summary}")
        lines += [f"  {change}" for change in step.changes or ("nothing on this machine",)]
    stopped = [s for s in table.steps if s.work is None]
    lines += [f"{s.profile} does not run the workload: {s.why}" for s in stopped]
    return "\n".join(lines) + "\n"


def _memory(step: Step) -> tuple[str, ...]:
    from ..report.layout import percent, size

    return (
        step.profile,
        size(step.overhead["bytes"]["total"]),
        percent(step.overhead["percent"]["total"]),
        size(step.virtual_bytes),
    )


def _work(step: Step) -> tuple[str, ...]:
    work = step.work
    counts = ("does not run", "", "")
    if work is not None:
        counts = (f"{work.operations:,}", f"{work.conversions:,}", f"{work.parameter_reads:,}")
    cycles = "not modelled" if step.cycles is None else f"{step.cycles[0]:,.0f} / {step.cycles[1]:,.0f}"
    code = "not measured" if step.code_bytes is None else f"{step.code_bytes:,}"
    return (step.profile, *counts, cycles, code)
