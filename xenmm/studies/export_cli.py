"""``xenmm export``: its arguments, and what it does with them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from . import command

if TYPE_CHECKING:
    import argparse

#: What is written of a booted host alone; json is of the map as well.
HOST_FORMATS: Final = ("c", "numba", "v2p")
#: The names of firmware.writers.FORMATS, repeated so that the parser need not import it; a test compares.
FORMATS: Final = ("e820", "xen", "efi", "iomem", "lsmem", "srat", "dts", "dtb", "json")


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "export",
        run,
        "write the memory map in another format, or a booted machine's conversions for another program",
        "export dell-r930 --format xen",
        "export server.dmesg --format json -o server.json",
        "export server.dmesg --format c --profile xen-mask > machine_mm.h",
        notes="What has no place in a format is named on standard error. json holds the map\n"
        "and, for the profile, the frozen parameters; c is a header and numba a Python\n"
        "module with these as constants; v2p is every virtual page with its machine\n"
        "address, as DynamoRIO's v2p.textproto.",
    )
    command.add_input(parser)
    formats = (*HOST_FORMATS, *FORMATS)
    parser.add_argument(
        "--format", required=True, choices=formats, metavar="F", help=f"what to write: {', '.join(formats)}"
    )
    parser.add_argument(
        "-o", "--output", default="-", metavar="OUT", help="file to write; - is standard output"
    )
    parser.add_argument(
        "--prefix", default="machine", metavar="P", help="c: what every name starts with (default: machine)"
    )
    parser.add_argument(
        "--v2p-pages",
        choices=("4k", "2m", "1g"),
        help="v2p: size of the file's pages (default: the smallest that is mapped)",
    )
    parser.add_argument(
        "--v2p-range",
        type=_range,
        metavar="START-END",
        help="v2p: virtual addresses from START up to END (default: everything mapped)",
    )
    command.add_profile(parser)
    command.add_boot_options(parser)


def run(args: argparse.Namespace) -> int:
    """Write the map, or the host booted on it, in the format asked for."""
    from ..boot.host import boot
    from ..firmware.writers import left_out, write_map
    from ..report.inputs import need_ram

    memory_map, given = command.load(args)
    if args.format in HOST_FORMATS or (args.format == "json" and memory_map.top > 0):
        host = boot(need_ram(memory_map, given.name), args.profile, **command.boot_options(args))
        options = {"prefix": args.prefix, "page_size": args.v2p_pages, "virt_range": args.v2p_range}
        command.write(args.output, host.export(args.format, **options))
        return command.EXIT_DONE
    written = write_map(memory_map, args.format)
    if isinstance(written, bytes) and args.output == "-" and sys.stdout.isatty():
        raise ConfigError(f"{args.format} is binary: name a file with -o, or redirect standard output")
    command.write(args.output, written)
    lost = left_out(memory_map, args.format)
    if lost:
        command.complain(f"note: {args.format} has no place for {', '.join(lost)}")
    return command.EXIT_DONE


def _range(text: str) -> tuple[int, int]:
    # What argparse shows of the error is the text and this function's message.
    import argparse

    start, dash, end = text.partition("-")
    try:
        if dash:
            return int(start, 0), int(end, 0)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no range of addresses, as 0x1000-0x2000")
