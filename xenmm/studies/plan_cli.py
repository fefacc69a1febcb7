"""``xenmm plan``: its arguments, the layout that they mean, and where it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from . import command

if TYPE_CHECKING:
    import argparse

    from ..firmware.memory_map import MemoryMap
    from .layouts import Layout

#: layouts.HT_WAYS and writers.FORMATS, repeated so that the parser need not import them; a test compares.
HT_WAYS: Final = ("none", "split", "move")
FORMATS: Final = ("e820", "xen", "efi", "iomem", "lsmem", "srat", "dts", "dtb", "json")
PACKED: Final = "packed"

_NOTES: Final = """\
A SIZE is bytes, or has a unit: 512G, 3T, 1.5TiB, 2^42, 0x40000000; units are
binary. Every figure comes from booting the layout."""


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of ``xenmm``."""
    parser = command.add_command(
        commands,
        "plan",
        run,
        "lay memory out as asked: its cost, the cheapest spacing, the largest machine of that shape",
        "plan --ram 3T --nodes 8 --spacing 2^42",
        "plan --ram 1536G --nodes 2 --ht-hole split --profiles xen-mask,fold",
        "plan --node-sizes 256G,64G,64G --spacing 1T -o map.json",
        notes=_NOTES,
    )
    add = parser.add_argument
    add("--ram", metavar="SIZE", help="RAM of all nodes, shared out evenly")
    add("--nodes", type=int, metavar="N", help="how many nodes share it (default: 1)")
    add("--node-sizes", metavar="LIST", help="instead: RAM of each node, sizes with commas")
    add(
        "--spacing",
        default=PACKED,
        metavar="SIZE",
        help="between nodes' bases (default: packed, side by side)",
    )
    add("--base", default="0", metavar="SIZE", help="where node 0 begins, if not as a PC's (default: 0)")
    add("--low", default="2G", metavar="SIZE", help="where a PC's RAM below 4 GiB ends (default: 2G)")
    add("--ht-hole", choices=HT_WAYS, default="none", help="AMD's hole below 1 TiB (default: none)")
    add("--hotplug", default="0", metavar="SIZE", help="hot-pluggable window above all RAM")
    add("--max-address", default="2^52", metavar="SIZE", help="nothing lies higher (default: 2^52)")
    add("--granule", default="1G", metavar="SIZE", help="what node sizes are multiples of (default: 1G)")
    add("--alignment", metavar="SIZE", help="look at all multiples as spacings (default: powers of two)")
    add("--boots", type=int, default=600, metavar="N", help="boot so many one by one (default: 600)")
    add("--profiles", metavar="LIST", help="profiles, or all (default: those that differ in memory)")
    add("-o", "--output", metavar="OUT", help="write the layout there")
    add("--format", choices=FORMATS, default="json", help="in this format (default: json)")
    command.add_boot_options(parser)
    command.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, show what was found, and write the layout."""
    from .plan import plan
    from .plan_text import lines
    from .units import parse_size

    layout = make_layout(args)
    if args.output not in (None, "-"):
        command.ensure_output(args.output)
    if args.output == "-":
        _write(args, layout.memory_map())
        return command.EXIT_DONE
    alignment = None if args.alignment is None else parse_size("--alignment", args.alignment)
    found = plan(
        layout,
        _profiles(args.profiles),
        granule=parse_size("--granule", args.granule),
        alignment=alignment,
        boots=args.boots,
        **command.boot_options(args),
    )
    if args.output is not None:
        _write(args, found.memory_map)
    command.output(args, lambda width: lines(found, width), found.to_dict)
    return command.EXIT_DONE


def make_layout(args: argparse.Namespace) -> Layout:
    """The layout that the arguments mean.

    Raises
    ------
    ConfigError
        If a size is none, or the layout is impossible.
    """
    from .layouts import Layout
    from .units import parse_size

    spacing = None if args.spacing == PACKED else parse_size("--spacing", args.spacing)
    if spacing == 0:
        raise ConfigError("--spacing: 0 would put all nodes in one place; 'packed' puts them side by side")
    options: dict[str, Any] = {
        "spacing": spacing,
        "base": parse_size("--base", args.base),
        "low_bytes": parse_size("--low", args.low),
        "ht_hole": args.ht_hole,
        "hotplug_bytes": parse_size("--hotplug", args.hotplug),
        "max_address": parse_size("--max-address", args.max_address),
    }
    if args.node_sizes is not None:
        if args.ram is not None or args.nodes is not None:
            raise ConfigError("--node-sizes stands for --ram and --nodes: give either")
        sizes = [parse_size("--node-sizes", text) for text in args.node_sizes.split(",")]
        return Layout(tuple(sizes), **options)
    if args.ram is None:
        raise ConfigError("plan needs --ram, or --node-sizes")
    ram, granule = parse_size("--ram", args.ram), parse_size("--granule", args.granule)
    return Layout.even(ram, 1 if args.nodes is None else args.nodes, granule=granule, **options)


def _profiles(text: str | None) -> list[str]:
    from ..boot.profiles import PROFILES, get_profile
    from ..report.overhead import STEPS

    if text is None:
        return list(STEPS)
    return list(PROFILES) if text == "all" else [get_profile(name).name for name in text.split(",")]


def _write(args: argparse.Namespace, memory_map: MemoryMap) -> None:
    from ..firmware.writers import left_out, write_map

    command.write(args.output, write_map(memory_map, args.format))
    lost = left_out(memory_map, args.format)
    if lost:
        command.complain(f"note: {args.format} has no place for {', '.join(lost)}")
