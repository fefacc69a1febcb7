"""``xenmm replay``: its arguments, and what it does with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from ..progress import Meter
from . import command

if TYPE_CHECKING:
    import argparse

    from ..boot.host import Host
    from ..timing.curves import Point
    from ..timing.replay import Input
    from ..timing.result import Result

#: Repeated from xenmm.timing so that the parser need not import it; a test compares.
INTERPRETATIONS: Final = ("maddr", "mfn", "linear", "virt", "raw")
FORMATS: Final = ("lackey", "din", "ldst", "perf", "champsim", "raw", "npy")
WORKLOADS: Final = (
    "sequential",
    "random",
    "zipf",
    "page-scrub",
    "p2m-update",
    "grant-storm",
    "page-table-walk",
    "mixed",
)
#: The file name that stands for no machine.
NO_MACHINE: Final = "none"


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "replay",
        run,
        "run a trace or a workload through caches, TLBs and page walks, on a booted machine's own pages",
        "replay server.dmesg accesses.trace.xz --uarch zen3 --json -",
        "replay dell-r930 --workload zipf --profile pre,fold --compare",
        "replay none lackey.txt --straddle once --uarch nehalem",
        notes="FILE none stands for no machine: addresses are then taken as they are.",
    )
    command.add_input(parser)
    command.add_profile(parser)
    command.add_boot_options(parser)
    add = parser.add_argument
    add("trace", nargs="?", metavar="TRACE", help="a trace; gz, xz and bz2 too; - is standard input")
    add("--format", choices=FORMATS, help="the trace's format (default: found from name and content)")
    add(
        "--as", dest="interpretation", choices=INTERPRETATIONS, help="what its addresses are (default: maddr)"
    )
    add("--strict-trace", action="store_true", help="stop at the first bad line or unmapped address")
    add("--workload", metavar="W[:K=V,...]", help=f"instead of a trace: {', '.join(WORKLOADS)}")
    add("--accesses", type=int, default=1_000_000, metavar="N", help="of the workload (default: 1000000)")
    add(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="of workload and random replacement (default: 1)",
    )
    add("--uarch", default="zen3", metavar="U", help="a preset or a .toml file (default: zen3)")
    add("--compare", action="store_true", help="run each of the profiles and uarchs, given with commas")
    add("--straddle", choices=("both", "once"), default="both", help="how an access over two lines counts")
    add("--warmup", type=int, default=0, metavar="N", help="accesses that are simulated and not counted")
    add("--roi", metavar="A:B", help="count accesses A to B - 1 only")
    add("--interval", type=int, metavar="N", help="keep the counts of each N accesses, too")
    add(
        "--miss-curve",
        metavar="TABLE",
        help="show the misses of this cache or TLB at 1/16 to 16 times its size: nine more runs",
    )
    command.add_output(parser)
    add("--csv", metavar="DEST", help="write name, value, description as CSV")
    add("--stats", metavar="DEST", help="write 'name value # description' lines")
    add("--timeline", metavar="DEST", help="write a Chrome trace for Perfetto; one cycle is one nanosecond")
    command.add_plot(parser, "cycles by cause, and miss curves if asked for,")


def run(args: argparse.Namespace) -> int:
    """Replay what the arguments say."""
    profiles, uarchs = _list("profile", args.profile), _list("uarch", args.uarch)
    if not args.compare and len(profiles) * len(uarchs) != 1:
        raise ConfigError("--profile, --uarch: several are for --compare; add it, or give one of each")
    if args.compare and args.trace == "-":
        raise ConfigError("--compare: standard input can be read once only; give the trace as a file")
    if args.miss_curve is not None and args.trace == "-":
        raise ConfigError("--miss-curve: standard input can be read once only; give the trace as a file")
    source = _source(args)
    command.ensure_plot(args)
    for destination in (args.json, args.csv, args.stats, args.timeline):
        command.ensure_output(destination)
    results: dict[str, Result] = {}
    curves: dict[str, Sequence[Point]] = {}
    for profile in profiles:
        host = None if args.file == NO_MACHINE else command.booted(args, profile)[0]
        for uarch in uarchs:
            name = f"{profile}/{uarch}"
            results[name] = _replay(args, host, source, uarch)
            if args.miss_curve is not None:
                curves[name] = _curve(args, host, source, uarch)
    _show(args, results, curves)
    if args.plot is not None:
        from ..report.plot_time import replay_figure

        command.plot(args, lambda width: replay_figure(results, curves, args.miss_curve or "", width))
    return command.EXIT_DONE


def _source(args: argparse.Namespace) -> Input:
    from ..timing.replay import Input

    if (args.trace is None) == (args.workload is None):
        raise ConfigError("replay: give either a TRACE or --workload, as --workload zipf")
    interpretation = args.interpretation or ("raw" if args.file == NO_MACHINE else "maddr")
    name, values = parse_workload(args.workload) if args.workload is not None else (None, {})
    return Input(
        args.trace, args.format, interpretation, name, values, args.accesses, args.seed, args.strict_trace
    )


def _replay(args: argparse.Namespace, host: Host | None, source: Input, uarch: str) -> Result:
    from ..timing.replay import replay

    total = args.accesses if args.workload is not None else None
    with Meter("replay", "accesses", total=total) as meter:
        result = replay(
            host,
            source,
            uarch,
            straddle=args.straddle,
            warmup=args.warmup,
            roi=_roi(args.roi),
            interval=args.interval,
            timeline=args.timeline is not None,
            seed=args.seed,
            progress=meter,
        )
    for problem in result.input.get("trace", {}).get("problems", ()):
        command.complain(f"warning: {problem}")
    return result


def _curve(args: argparse.Namespace, host: Host | None, source: Input, uarch: str) -> Sequence[Point]:
    from ..timing.curves import FACTORS, miss_curve

    with Meter("miss curve", "sizes", total=len(FACTORS)) as meter:
        return miss_curve(
            host,
            source,
            uarch,
            args.miss_curve,
            progress=meter,
            straddle=args.straddle,
            warmup=args.warmup,
            roi=_roi(args.roi),
            seed=args.seed,
        )


def _show(
    args: argparse.Namespace, results: dict[str, Result], curves: Mapping[str, Sequence[Point]]
) -> None:
    from ..timing.replay import compare, timeline_json
    from .replay_text import comparison, curve_lines, summary

    first = next(iter(results.values()))
    more = {
        "miss_curves": {
            name: {"table": args.miss_curve, "points": [p.to_dict() for p in points]}
            for name, points in curves.items()
        }
    }
    if len(results) == 1:
        whole = first.to_dict() | (more if curves else {})
        texts = {"json": lambda: command.json_text(whole), "csv": first.to_csv, "stats": first.to_text}
    else:
        if args.csv or args.stats or args.timeline:
            raise ConfigError("--compare: it writes text or --json")
        rows = compare(results)
        facts: dict[str, Any] = {"schema": "xenmm.replay-compare/1", "differences": rows}
        facts["runs"] = {name: r.to_dict() for name, r in results.items()}
        facts |= more if curves else {}
        texts = {"json": lambda: command.json_text(facts)}
    quiet = False
    for option, text in texts.items():
        quiet |= _write(getattr(args, option), text)
    quiet |= _write(args.timeline, lambda: timeline_json(first))
    if not quiet:
        width = command.text_width(args)
        lines = summary(first, width) if len(results) == 1 else comparison(rows, list(results), width)
        command.show([*lines, *curve_lines(curves, args.miss_curve)] if curves else lines, args)


def _write(destination: str | None, text: Callable[[], str]) -> bool:
    # Whether standard output was taken.
    if destination is not None:
        command.write(destination, text())
    return destination == "-"


def _list(name: str, value: str) -> list[str]:
    names = [v for v in value.split(",") if v]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"--{name}: {value!r} is not a list of different names")
    return names


def parse_workload(text: str) -> tuple[str, dict[str, Any]]:
    name, _, rest = text.partition(":")
    values: dict[str, Any] = {}
    for item in rest.split(",") if rest else ():
        key, equals, value = item.partition("=")
        try:
            values[key] = float(value) if "." in value else int(value, 0)
        except ValueError:
            raise ConfigError(f"--workload: {item!r} is not KEY=NUMBER") from None
        if not equals:
            raise ConfigError(f"--workload: {item!r} is not KEY=NUMBER")
    return name, values


def _roi(text: str | None) -> tuple[int, int | None] | None:
    if text is None:
        return None
    first, colon, stop = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return int(first or "0", 0), int(stop, 0) if stop else None
    except ValueError:
        raise ConfigError(f"--roi: {text!r} is not FIRST:STOP, as 1000:2000") from None
