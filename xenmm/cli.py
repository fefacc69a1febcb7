"""The ``xenmm`` command: its arguments, its exit codes, and nothing of what the commands do.

Exit codes: 0 done; 1 the question has a negative answer; 2 the input or the usage is wrong, told in one line
on standard error; 130 interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from .boot.host import Host
    from .firmware.memory_map import MemoryMap
    from .report.inputs import Input

EXIT_DONE: Final = 0
EXIT_NEGATIVE: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_FAULT: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_OUTPUT_CLOSED: Final = 141

#: The names of firmware.writers.FORMATS, repeated so that the parser need not import it; a test compares.
_FORMATS: Final = ("e820", "xen", "efi", "iomem", "lsmem", "srat", "dts", "dtb", "json")

_GUIDE: Final = """\
xenmm shows what a hypervisor's memory tables cost on a real machine, and
computes with them as Xen does.

  xenmm report FILE                  what each table costs, step by step, and
                                     what can go wrong
  xenmm boot FILE                    the frozen boot parameters of one profile,
                                     and its tables
  xenmm convert FILE mfn:0x100000    the other forms of a frame: pdx, page,
                                     maddr, virt
  xenmm export FILE --format FORMAT  the same memory map in another format
  xenmm steps FILE                   the 2009 series step by step on a live
                                     machine: memory, work, what changed
  xenmm bench --quick                conversions timed beside their peers
  xenmm replay FILE TRACE            the trace's time on that machine: caches,
                                     TLBs, page walks
  xenmm doctor                       what is installed, built, and missing

FILE is what a machine says about its memory: a boot log of Linux, Xen or
FreeBSD, /proc/iomem, lsmem, an ACPI SRAT table, a device tree. A - reads
standard input. The name of a bundled machine does as well:

{machines}

Try: xenmm report {example}
Each command explains itself with --help.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises on bad input."""
    try:
        return _finish(_main(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python would flush once more at exit and complain; it finds nothing to do on /dev/null.
        _discard_output()
        return EXIT_OUTPUT_CLOSED


def _main(argv: Sequence[str]) -> int:
    from .errors import XenmmError

    if sys.stdout is None:
        _complain("error: standard output is closed")
        return EXIT_BAD_INPUT
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = args.command
        return command(args)
    except XenmmError as e:
        _complain(f"error: {e}")
    except BrokenPipeError:
        raise
    except OSError as e:
        _complain(f"error: {_os_error(e)}")
    except MemoryError:
        _complain("error: out of memory")
    except ImportError as e:
        _complain(f"error: {e} (xenmm doctor shows what is missing)")
    except Exception as e:
        if "--traceback" in argv:
            raise
        _complain(f"internal error: {type(e).__name__}: {e} (a fault of xenmm; --traceback shows where)")
        return EXIT_FAULT
    return EXIT_BAD_INPUT


def _finish(code: int) -> int:
    # Only a flush tells whether the output arrived: the disk may be full, the reader gone.
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as e:
        _complain(f"error: standard output: {_os_error(e)}")
        _discard_output()
        return EXIT_BAD_INPUT
    return code


def _discard_output() -> None:
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str) -> None:
    # One line, whatever a file name or a log put into it.
    from .report.layout import printable

    if sys.stderr is not None:
        print("xenmm: " + printable(text), file=sys.stderr)


def _os_error(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"


def _emit(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


# The arguments.


def _parser() -> argparse.ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.exit(EXIT_BAD_INPUT, f"xenmm: error: {message} (see: {self.prog} --help)\n")

    parser = Parser(
        prog="xenmm",
        description="What a hypervisor's memory tables cost on a real machine, exactly as Xen lays them out.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=_guide)
    from .version import __version__

    parser.add_argument("--version", action="version", version=f"xenmm {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an internal error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], help: str, *examples: str, notes: str = ""
    ) -> Any:
        sub = commands.add_parser(
            name,
            help=help,
            description="\n".join(filter(None, (help[0].upper() + help[1:] + ".", notes))),
            epilog="examples:\n" + "\n".join(f"  xenmm {e}" for e in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
        sub.set_defaults(command=run)
        return sub

    sub = add(
        "report",
        _report,
        "show the machine, what each step's tables cost, and what can go wrong",
        "report server.dmesg",
        "report dell-r930 --profile fold --profile xen-offset --json -",
    )
    _add_input(sub)
    sub.add_argument(
        "--profile", action="append", metavar="P", help="only this profile; may be given several times"
    )
    _add_boot_options(sub)
    _add_output(sub)

    sub = add(
        "boot",
        _boot,
        "boot one profile and show its frozen parameters, its tables and its hazards",
        "boot server.dmesg --profile xen-mask",
        "boot dell-r930 --page-sizes 2m --json -",
    )
    _add_input(sub)
    _add_profile(sub)
    _add_boot_options(sub)
    _add_output(sub)

    sub = add(
        "convert",
        _convert,
        "show every form of a frame and how each is computed; exit 1 if one is not valid",
        "convert server.dmesg mfn:0x100000",
        "convert dell-r930 maddr:0x100000abc page:0xffff82e000000020 --profile xen-mask",
    )
    _add_input(sub)
    sub.add_argument(
        "value",
        nargs="+",
        metavar="KIND:NUMBER",
        help="mfn:, pdx:, page:, maddr: or virt: and a number, decimal or 0x..., underscores allowed",
    )
    _add_profile(sub)
    _add_boot_options(sub)
    _add_output(sub)

    sub = add(
        "export",
        _export,
        "write the memory map in another format, or a booted machine's conversions for another program",
        "export dell-r930 --format xen",
        "export server.dmesg --format json -o server.json",
        "export server.dmesg --format c --profile xen-mask > machine_mm.h",
        notes="What has no place in a format is named on standard error. json holds the map and, for the\n"
        "profile, the frozen parameters; c is a header with these as constants.",
    )
    _add_input(sub)
    formats = ("c", *_FORMATS)
    sub.add_argument("--format", required=True, choices=formats, help="what to write")
    sub.add_argument("-o", "--output", default="-", metavar="OUT", help="file to write; - is standard output")
    sub.add_argument(
        "--prefix", default="machine", metavar="P", help="c: what every name starts with (default: machine)"
    )
    _add_profile(sub)
    _add_boot_options(sub)

    from .studies import bench_cli, replay_cli, steps_cli

    steps_cli.add_parser(commands)
    bench_cli.add_parser(commands)

    sub = add(
        "replay",
        _replay,
        "run a trace or a workload through caches, TLBs and page walks, on a booted machine's own pages",
        "replay server.dmesg accesses.trace.xz --uarch zen3 --json -",
        "replay dell-r930 --workload grant-storm --profile pre,sparse-m2p,xen-offset --compare",
        "replay none lackey.txt --straddle once --uarch nehalem",
        notes="FILE none stands for no machine: addresses are then taken as they are.",
    )
    _add_input(sub)
    _add_profile(sub)
    _add_boot_options(sub)
    replay_cli.add_arguments(sub)

    add(
        "doctor",
        _doctor,
        "show what is installed, what was built and what is missing; exit 1 if something needed is broken",
        "doctor",
        "doctor --json -",
    ).add_argument("--json", metavar="DEST", help="write JSON to this file; - is standard output")
    return parser


def _add_input(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "file", metavar="FILE", help="a log, table or blob; - for standard input; or a bundled name"
    )
    sub.add_argument("--boot", type=int, metavar="N", help="which boot of a log with several, from 1")
    sub.add_argument(
        "--map",
        choices=("firmware", "user"),
        default="firmware",
        help="the firmware's map, or the one the kernel was told to use (default: firmware)",
    )
    sub.add_argument(
        "--strict", action="store_true", help="refuse a damaged log instead of keeping what is certain"
    )


def _add_profile(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--profile", default="xen-offset", metavar="P", help="what to boot (default: xen-offset)"
    )


def _add_boot_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--page-sizes", choices=("2m", "1g"), default="1g", help="the CPU's largest page (default: 1g)"
    )
    sub.add_argument(
        "--compat-m2p",
        choices=("on", "off", "default"),
        default="default",
        help="the M2P copy for 32-bit PV guests (default: as the profile has it)",
    )
    sub.add_argument(
        "--no-hotplug", action="store_true", help="leave out hot-pluggable SRAT rows, to see what they cost"
    )
    sub.add_argument(
        "--stack-guards", action="store_true", help="split the page at node 0's top, as real boots do"
    )
    sub.add_argument(
        "--command-line",
        metavar="TEXT",
        help="Xen's boot options, as mem=64G (default: those a Xen log states; ignore: none)",
    )


def _add_output(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--json", metavar="DEST", help="write JSON to this file; - writes it instead of the text"
    )
    sub.add_argument(
        "--width", type=int, metavar="N", help="columns of text (default: the terminal's, else 80)"
    )


# The commands.


def _guide(args: argparse.Namespace) -> int:
    from .maps import DEFAULT_MAP, bundled
    from .report.layout import wrap

    machines = "\n".join(wrap(", ".join(bundled()), 80, "  ", "  "))
    _emit(_GUIDE.format(machines=machines, example=DEFAULT_MAP))
    return EXIT_DONE


def _report(args: argparse.Namespace) -> int:
    from .report import json, text
    from .report.inputs import need_ram
    from .report.overhead import make_report

    memory_map, given = _load(args)
    need_ram(memory_map, given.name)
    report = make_report(memory_map, given, profiles=args.profile, **_boot_options(args))
    _output(args, lambda width: text.render_report(report, width), lambda: json.report_to_dict(report))
    return EXIT_DONE


def _boot(args: argparse.Namespace) -> int:
    from .report import host_text, json

    host, given = _booted(args)
    _output(
        args, lambda width: host_text.render_host(host, given, width), lambda: json.host_to_dict(host, given)
    )
    return EXIT_DONE


def _convert(args: argparse.Namespace) -> int:
    from .report import host_text, json
    from .report.forms import forms_of, parse_value

    values = [parse_value(v) for v in args.value]
    host, given = _booted(args)
    found = [forms_of(host, kind, number) for kind, number in values]
    _output(
        args,
        lambda width: host_text.render_forms(host, found, width),
        lambda: json.forms_to_dict(host, given, found),
    )
    return EXIT_DONE if all(f.valid for f in found) else EXIT_NEGATIVE


def _export(args: argparse.Namespace) -> int:
    from .firmware.writers import left_out, write_map

    memory_map, given = _load(args)
    if args.format == "c" or (args.format == "json" and memory_map.top > 0):
        host = _boot_map(args, memory_map, given)
        _write(args.output, host.export(args.format, prefix=args.prefix))
        return EXIT_DONE
    written = write_map(memory_map, args.format)
    if isinstance(written, bytes) and args.output == "-" and sys.stdout.isatty():
        from .errors import ConfigError

        raise ConfigError(f"{args.format} is binary: name a file with -o, or redirect standard output")
    _write(args.output, written)
    lost = left_out(memory_map, args.format)
    if lost:
        _complain(f"note: {args.format} has no place for {', '.join(lost)}")
    return EXIT_DONE


def _replay(args: argparse.Namespace) -> int:
    from .studies import replay_cli

    def boot(profile: str) -> Host:
        args.profile = profile
        return _booted(args)[0]

    return replay_cli.run(args, boot, _emit)


def _doctor(args: argparse.Namespace) -> int:
    from .config import checks, configuration, render

    results = checks()
    if args.json is not None:
        _write(args.json, _json_text(configuration()))
    if args.json != "-":
        _emit(render(results))
    return EXIT_NEGATIVE if any(c.needed and not c.ok for c in results) else EXIT_DONE


# What the commands share.


def _load(args: argparse.Namespace) -> tuple[MemoryMap, Input]:
    from .report.inputs import load

    if args.boot is not None and args.boot < 1:
        from .errors import ConfigError

        raise ConfigError(f"--boot counts from 1, got {args.boot}")
    data = sys.stdin.buffer.read() if args.file == "-" else None
    return load(args.file, data, boot=args.boot, map=args.map, strict=args.strict)


def _boot_options(args: argparse.Namespace) -> dict[str, Any]:
    compat = {"on": True, "off": False, "default": None}[args.compat_m2p]
    return {
        "page_sizes": args.page_sizes,
        "compat_m2p": compat,
        "hotplug": False if args.no_hotplug else None,
        "stack_guards": args.stack_guards,
        "command_line": args.command_line,
    }


def _booted(args: argparse.Namespace) -> tuple[Host, Input]:
    memory_map, given = _load(args)
    return _boot_map(args, memory_map, given), given


def _boot_map(args: argparse.Namespace, memory_map: MemoryMap, given: Input) -> Host:
    from .boot.host import boot
    from .report.inputs import need_ram

    return boot(need_ram(memory_map, given.name), args.profile, **_boot_options(args))


def _output(
    args: argparse.Namespace, text: Callable[[int], str], facts: Callable[[], dict[str, Any]]
) -> None:
    if args.json is not None:
        _write(args.json, _json_text(facts()))
    if args.json != "-":
        _emit(text(_width(args)))


def _write(destination: str, content: str | bytes) -> None:
    if destination != "-":
        data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        with open(destination, "wb") as f:
            f.write(data)
    elif isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        _emit(content)


def _json_text(facts: dict[str, Any]) -> str:
    import json

    return json.dumps(facts, indent=2, ensure_ascii=True) + "\n"


def _width(args: argparse.Namespace) -> int:
    import os

    if args.width is not None:
        return max(int(args.width), 40)
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns, 40)
    except (OSError, ValueError):
        return 80
