"""``xenmm steps``: its arguments, and the table as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..progress import Meter
from . import command

if TYPE_CHECKING:
    import argparse

    from .steps import Step, StepsTable

_NOTES: Final = """\
Steps 1 to 4 change what the tables cost, 5 to 7 what the same work costs.
Cycles are those of the conversions, modelled with everything in the first
cache: latency-bound / throughput-bound. Bytes of code are those of the
project's committed record of xenmm bench, or of yours (--record)."""

#: The names of steps.WORKLOADS, repeated so that the parser need not import it; a test compares.
WORKLOADS = ("grant-storm", "page-scrub", "domain-build", "balloon", "dying-release", "mixed")


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "steps",
        run,
        "run a workload under each of the seven steps of the 2009 series: memory, conversions, what changed",
        "steps dell-r930",
        "steps server.dmesg --workload grant-storm --size 100000",
        "steps server.dmesg --record record.json --json -",
        notes=_NOTES,
    )
    command.add_input(parser)
    parser.add_argument(
        "--workload",
        choices=WORKLOADS,
        default="mixed",
        metavar="W",
        help=f"what the machine does: {', '.join(WORKLOADS)} (default: mixed)",
    )
    parser.add_argument(
        "--size", type=int, default=4096, metavar="N", help="pages it works on (default: 4096)"
    )
    command.add_page_sizes(parser)
    parser.add_argument(
        "--uarch", default="zen3", metavar="NAME", help="core whose cycles are shown, or none (default: zen3)"
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="a record of xenmm bench, for bytes of code, or none (default: the committed one)",
    )
    command.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Run the steps and show them."""
    from .steps import COMMITTED_RECORD, STEPS, steps

    memory_map, _ = command.load_ram(args)
    command.ensure_output(args.json)
    with Meter("steps", "step", total=len(STEPS)) as meter:
        table = steps(
            memory_map,
            args.workload,
            size=args.size,
            page_sizes=args.page_sizes,
            uarch=None if args.uarch == "none" else args.uarch,
            record=None if args.record == "none" else args.record or COMMITTED_RECORD,
            progress=meter.stage,
        )
    command.output(args, lambda width: lines(table, width), table.to_dict)
    return command.EXIT_DONE


def render(table: StepsTable, width: int = 80) -> str:
    """The table as text: memory, then work, then what each step changed."""
    from ..report.layout import joined

    return joined(lines(table, width))


def lines(table: StepsTable, width: int = 80) -> list[str]:
    """The lines of :func:`render`, their parts marked."""
    from ..report.layout import heading, printable, sections, size, wrap
    from ..report.layout import table as columns

    title = (
        f"{printable(table.machine or 'unnamed')}: {size(table.ram_bytes)} of RAM; "
        f"workload {table.workload}, {table.size:,} pages"
    )
    heads = [
        ("", "", "", "parameter", "", "bytes"),
        ("step", "operations", "conversions", "reads", "cycles", "of code"),
    ]
    stopped = [f"{s.profile} does not run the workload: {s.why}" for s in table.steps if s.work is None]
    return sections(
        (
            wrap(title, width, "", "  "),
            columns([("step", "memory", "percent", "virtual space"), *(_memory(s) for s in table.steps)]),
            columns([*heads, *(_work(s) for s in table.steps)], heads=2),
            [
                *heading("What changed against the step before"),
                *(line for step in table.steps[1:] for line in _changes(step, width)),
                *(line for text in stopped for line in wrap(text, width, "", "  ")),
            ],
        )
    )


def fragment(table: StepsTable) -> str:
    """The table for a notebook: memory and work of each step, and what it changed."""
    from ..report.layout import size
    from ..report.notebook import framed
    from ..report.page.markup import element, join, scrolled
    from ..report.page.markup import table as set_table

    heads = ("step", "memory", "of RAM", "virtual space")
    work = ("operations", "conversions", "parameter reads", "cycles", "bytes of code")
    rows: list[tuple[object, ...]] = []
    for step in table.steps:
        changed = "; ".join(step.changes) or ("nothing on this machine" if rows else step.summary)
        name = join((step.profile, element("small", changed)))
        rows.append((name, *_memory(step)[1:], *_work(step)[1:]))
    body = scrolled(set_table((*heads, *work), rows), "steps")
    machine = f"{table.machine or 'unnamed'}: {size(table.ram_bytes)} of RAM"
    title = f"{machine}; {table.workload}, {table.size:,} pages"
    return framed(title, body)


def _changes(step: Step, width: int) -> list[str]:
    from ..report.layout import LABEL, marked, wrap

    first, *rest = wrap(f"{step.profile}: {step.summary}", width, "", "    ")
    changes = [f"  {change}" for change in step.changes or ("nothing on this machine",)]
    return [marked(first, (0, len(step.profile), LABEL)), *rest, *changes]


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
