"""``xenmm bench --silicon``: a record of model and silicon as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..progress import Meter
from ..report.layout import HEAD, LABEL, joined, marked
from . import command

if TYPE_CHECKING:
    import argparse

#: Machines whose frame tables are larger than caches, and whose frames both compressions squeeze.
_MACHINE = "candidate-8x32g-512g"
_QUICK_MACHINE = "candidate-4x4g-64g"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to those of ``xenmm bench``."""
    group = parser.add_argument_group("the model against this processor")
    group.add_argument(
        "--silicon", action="store_true", help="measure each primitive here, beside what the model says"
    )
    group.add_argument(
        "--uarch", metavar="NAME", help="with --silicon: the preset (default: this processor's)"
    )
    group.add_argument(
        "--predict", action="store_true", help="with --silicon: only what the model says; nothing is measured"
    )


def run(args: argparse.Namespace) -> int:
    """Predict and measure as the arguments say; 0."""
    if not args.silicon:
        raise ConfigError("bench: --predict and --uarch belong to --silicon")
    if args.check or args.only:
        raise ConfigError("bench: --check and --only do not go with --silicon")
    from ..firmware import read_map
    from ..maps import open_map
    from . import silicon

    name = _QUICK_MACHINE if args.quick else _MACHINE
    fallback = read_map(open_map(name), name=name)
    memory_map = fallback if args.file is None else command.load_ram(args)[0]
    command.ensure_output(args.json)
    with Meter("silicon", "stage", total=1 if args.predict else 4, at_once=True) as meter:
        record = silicon.run(
            memory_map,
            fallback,
            uarch=args.uarch,
            quick=args.quick,
            predict_only=args.predict,
            progress=meter.stage,
        )
    record = {"schema": record.pop("schema"), "command": _command(args), **record}
    command.output(args, lambda width: lines(record), lambda: record)
    return command.EXIT_DONE


def _command(args: argparse.Namespace) -> str:
    words = ["xenmm bench", *([args.file] if args.file else []), "--silicon"]
    words += [f"--uarch {args.uarch}"] if args.uarch else []
    words += [f"--{name}" for name in ("predict", "quick") if getattr(args, name)]
    return " ".join([*words, f"--json {args.json}"] if args.json else words)


def render(record: dict[str, Any]) -> str:
    """A record as text, as :func:`lines` has it."""
    return joined(lines(record))


def lines(record: dict[str, Any]) -> list[str]:
    """A record as lines: the model, silicon and the error side by side, and llvm-mca's figure."""
    found: list[str] = []
    if "cpu" in record:
        clock = record["clock"]
        found.append(f"{record['cpu']}; preset {record['uarch']}; {record['compiler']}")
        more = f" ({clock['ghz']} GHz)" if "ghz" in clock else ""
        found.append(f"a cycle: {clock['cycle']}{more}")
        mca = record["llvm_mca"]
        found.append(f"llvm-mca: {mca.get('skipped') or mca['version'] + ', ' + mca['mcpu']}")
    else:
        found.append(f"preset {record['uarch']}: what the model says; nothing was measured")
    for way in ("variables", "constants"):
        for mode in dict.fromkeys(r["mode"] for r in record["primitives"]):
            rows = [r for r in record["primitives"] if (r["mode"], r["way"]) == (mode, way)]
            found += ["", *_primitives(f"{mode}, {way}", rows)]
    found += ["", *_cycles("pointer chase, cycles", record["plateaus"], "what")]
    rows = [{**r, "name": f"{r['what']}: {r['mode']}, {r['page_size']} pages"} for r in record["end_to_end"]]
    found += ["", *_cycles("end to end, cycles a frame", rows, "name")]
    if "errors" in record:
        found += ["", "errors of the model against silicon (absolute)"]
        for name, e in record["errors"].items():
            found.append(f"  {name}: {e['mean']:.1%} on average, worst {e['worst']:.0%} ({e['worst_is']})")
    return found


def _primitives(head: str, rows: list[dict[str, Any]]) -> list[str]:
    columns = ["latency", "throughput", "code_bytes"]
    titles = ["model", "silicon", "error", "mca"]
    out = [f"{head:<24}" + "".join(f"{c:^{9 * (4 if c != 'code_bytes' else 3)}}" for c in columns)]
    out.append(
        " " * 24 + "".join(f"{t:>9}" for c in columns for t in titles if (c, t) != ("code_bytes", "mca"))
    )
    for r in rows:
        cells = []
        for c in columns:
            cells += [_figure(r.get(c)), _figure(r.get(f"{c}_measured")), _percent(r.get(f"{c}_error"))]
            if c != "code_bytes":
                cells.append(_figure(r.get(f"{c}_mca")))
        out.append(f"{r['primitive']:<24}" + "".join(f"{c:>9}" for c in cells))
    return _marked([line.rstrip() for line in out], 2, 24)


def _cycles(head: str, rows: list[dict[str, Any]], key: str) -> list[str]:
    out = [f"{head:<48}{'model':>10}{'silicon':>10}{'error':>9}"]
    for r in rows:
        measured, error = _figure(r.get("cycles_measured")), _percent(r.get("cycles_error"))
        out.append(f"{r[key]:<48}{_figure(r['cycles']):>10}{measured:>10}{error:>9}".rstrip())
    return _marked(out, 1, 48)


def _marked(lines: list[str], heads: int, label: int) -> list[str]:
    return [
        marked(line, (0, len(line), HEAD) if i < heads else (0, label, LABEL)) for i, line in enumerate(lines)
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, int) else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.0%}"
