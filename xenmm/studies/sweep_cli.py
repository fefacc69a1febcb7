"""``xenmm sweep``: its arguments, and what it says when it is done, or interrupted."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError, need_one_of
from . import command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from .sweep import SweepResult

#: Of sweep_cells.KINDS, repeated so that the parser need not import it; a test compares.
KINDS: Final = ("report", "replay", "steps")
EXIT_INTERRUPTED: Final = 130
#: Failures that are shown; the table has all.
_FAILURES_SHOWN: Final = 5

_NOTES: Final = """\
A LIST is one value or several with commas; every combination is a cell. What is
done is not done again, unless the input's content, an option or the version
changed: after an interruption the same command goes on, and after shards the
same without --shard makes the table. OUT gets table.csv and
a JSON file for each cell; a failure is a result, with its reason. Exit code 1
if any cell failed."""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "sweep",
        run,
        "boot or replay every combination of machines and options into one table",
        "sweep logs/ --profiles all --page-sizes 2m,1g -o results",
        "sweep bundled --uarch all --workloads grant-storm -o times",
        "sweep logs/ -o results --shard 3/64",
        "sweep --collect results --parquet",
        notes=_NOTES,
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="INPUTS",
        help="logs and tables, folders of them, 'patterns/**', bundled names, or bundled for all of those",
    )
    add("-o", "--output", metavar="OUT", help="folder of the results: new, empty, or of an earlier sweep")
    add("--kind", choices=KINDS, help="default: report, or replay when --uarch or --workloads are given")
    add("--profiles", default="all", metavar="LIST", help="profiles to boot (default: all)")
    add("--uarch", metavar="LIST", help="microarchitectures or .toml files, or all (default: zen3)")
    add(
        "--workloads",
        metavar="LIST",
        help="as replay or steps have them, with parameters as zipf:lines=500 (default: grant-storm; mixed)",
    )
    _add_boot_axes(add)
    add("--accesses", type=int, default=1_000_000, metavar="N", help="of a replay (default: 1000000)")
    add("--seed", type=int, default=1, metavar="N", help="of a replay (default: 1)")
    add("--size", type=int, default=4096, metavar="N", help="pages that steps work on (default: 4096)")
    add("--boot", type=int, metavar="N", help="which boot of each log, from 1")
    add("--map", choices=("firmware", "user"), default="firmware", help="which map of each log")
    add("--strict", action="store_true", help="a damaged log fails, instead of what is certain being kept")
    add("--retry", action="store_true", help="do failed cells again")
    add("--shard", metavar="K/N", help="do the K-th of N parts only, for job arrays; writes no table")
    add("--workers", type=int, metavar="N", help="processes (default: one a CPU; 0: none but this one)")
    add("--dask", metavar="ADDRESS", help="use the dask.distributed cluster with this scheduler")
    add("--collect", metavar="OUT", help="only write the table of a folder anew, from every cell in it")
    add("--parquet", action="store_true", help="write table.parquet too (extra: arrow)")
    command.add_output(parser, width=False)


def _add_boot_axes(add: Any) -> None:
    add("--page-sizes", default="1g", metavar="LIST", help="the CPU's largest page: 2m, 1g (default: 1g)")
    add(
        "--compat-m2p",
        default="default",
        metavar="LIST",
        help="M2P for 32-bit PV guests: on, off, default (default: default, as the profile has it)",
    )
    add(
        "--hotplug",
        default="on",
        metavar="LIST",
        help="hot-pluggable SRAT rows: on, off to leave them out (default: on)",
    )
    add(
        "--stack-guards",
        default="off",
        metavar="LIST",
        help="split node 0's top page: on, off (default: off)",
    )
    add(
        "--command-line",
        action="append",
        metavar="TEXT",
        help="Xen's boot options; several times for several values (default: those a Xen log states)",
    )


def run(args: argparse.Namespace) -> int:
    """Sweep, or collect, as the arguments say."""
    from .sweep import collect

    if args.collect is not None:
        if args.inputs or args.output is not None:
            raise ConfigError("--collect OUT stands alone: it does no cells")
        return _show(args, collect(args.collect, parquet=args.parquet))
    if not args.inputs:
        raise ConfigError("sweep needs INPUTS: files, folders, bundled names, or bundled for all of those")
    if args.output is None:
        raise ConfigError("sweep needs -o OUT, the folder of its results")
    command.ensure_output(args.json)
    return _sweep(args)


def _sweep(args: argparse.Namespace) -> int:
    from ..progress import Meter
    from .sweep import sweep

    settled = (0, 0)
    with Meter("sweep", "cells") as meter:

        def progress(done: int, total: int) -> None:
            nonlocal settled
            settled = done, total
            meter.total = total
            meter(done)

        try:
            with _executor(args.dask) as executor:
                result = sweep(
                    args.inputs,
                    args.output,
                    executor=executor,
                    progress=progress,
                    **_options(args),
                )
        except KeyboardInterrupt:
            meter.close()
            command.complain(
                f"interrupted: {settled[0]:,} of {settled[1]:,} cells are in {args.output};"
                " the same command goes on from there"
            )
            return EXIT_INTERRUPTED
    return _show(args, result)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    words = {"on": True, "off": False, "default": None}
    return {
        "kind": args.kind,
        "profiles": _list("--profiles", args.profiles),
        "page_sizes": _list("--page-sizes", args.page_sizes),
        "compat_m2p": _words("--compat-m2p", args.compat_m2p, words),
        "hotplug": _words("--hotplug", args.hotplug, {"on": None, "off": False}),
        "stack_guards": _words("--stack-guards", args.stack_guards, {"on": True, "off": False}),
        "command_line": args.command_line,
        "uarchs": None if args.uarch is None else _list("--uarch", args.uarch),
        "workloads": None if args.workloads is None else _workloads(args.workloads),
        "accesses": args.accesses,
        "seed": args.seed,
        "size": args.size,
        "boot": args.boot,
        "map": args.map,
        "strict": args.strict,
        "retry": args.retry,
        "shard": args.shard,
        "workers": args.workers,
        "parquet": args.parquet,
    }


def _list(option: str, text: str) -> str | list[str]:
    if text == "all":
        return text
    values = text.split(",")
    if not all(values):
        raise ConfigError(f"{option}: {text!r} is no list of values with commas")
    return values


def _words(option: str, text: str, words: dict[str, Any]) -> list[Any]:
    values = _list(option, text)
    for value in values:
        need_one_of(option, value, words)
    return [words[value] for value in values]


def _workloads(text: str) -> str | list[str]:
    # A comma before KEY=VALUE goes on with the parameters of the workload before it.
    if text == "all":
        return text
    return re.split(r",(?![^:,]*=)", text)


class _executor:  # noqa: N801
    """The executor of a dask cluster while it is needed; None without an address."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._client: Any = None

    def __enter__(self) -> Executor | None:
        if self._address is None:
            return None
        try:
            client: Any = import_module("distributed").Client
        except ImportError:
            raise ConfigError("--dask needs dask.distributed: pip install 'xenmm[dask]'") from None
        try:
            self._client = client(self._address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigError(f"--dask: no scheduler answers at {self._address!r}: {error}") from None
        executor: Executor = self._client.get_executor(pure=False)
        return executor

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()


def _show(args: argparse.Namespace, result: SweepResult) -> int:
    command.output(args, lambda _: _text(result), lambda: _facts(result))
    return command.EXIT_NEGATIVE if result.failed else command.EXIT_DONE


def _text(result: SweepResult) -> str:
    from ..report.layout import plural, printable

    parts = [f"{plural(result.cells, 'cell')}: {result.done:,} done now, {result.kept:,} there already"]
    if result.failed:
        parts.append(f", {result.failed:,} of them failed")
    lines = ["".join(parts)]
    if result.failed:
        lines += [f"  {printable(line)}" for line in _failures(result)]
    lines.append(
        f"table    {result.table or 'none: a shard writes none; the same command without --shard does'}"
    )
    lines.append(f"results  {result.folder / 'cells'}")
    return "\n".join(lines)


def _failures(result: SweepResult) -> Iterator[str]:
    # The reasons, each once: an input that cannot be read fails many cells.
    from ..report.layout import plural

    for message, count in sorted(result.reasons.items())[:_FAILURES_SHOWN]:
        yield f"{plural(count, 'cell')}: {message}"
    if len(result.reasons) > _FAILURES_SHOWN:
        yield f"and {len(result.reasons) - _FAILURES_SHOWN} more reasons: column reason of the table"


def _facts(result: SweepResult) -> dict[str, Any]:
    from ..version import __version__

    return {
        "schema": "xenmm-sweep-summary/1",
        "xenmm": __version__,
        "folder": str(result.folder),
        "table": None if result.table is None else str(result.table),
        "cells": result.cells,
        "done": result.done,
        "kept": result.kept,
        "failed": result.failed,
    }
