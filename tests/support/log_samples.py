"""A made-up machine, and how each kernel and hypervisor prints it: an independent, plain restatement."""

from __future__ import annotations

# (start, end, type word) of a two-node machine with a hole below 4 GiB.
ROWS = (
    (0x0, 0x9FC00, "usable"),
    (0x9FC00, 0xA0000, "reserved"),
    (0xF0000, 0x100000, "reserved"),
    (0x100000, 0xBFF00000, "usable"),
    (0xBFF00000, 0xBFF10000, "ACPI data"),
    (0xBFF10000, 0xC0000000, "ACPI NVS"),
    (0xFEC00000, 0xFEC01000, "reserved"),
    (0x100000000, 0x2040000000, "usable"),
    (0xFD00000000, 0x10000000000, "reserved"),
)
RAM = ((0x0, 0x9FC00), (0x100000, 0xBFF00000), (0x100000000, 0x2040000000))
RAM_BYTES = sum(end - start for start, end in RAM)
SRAT = ((0x0, 0xC0000000, 0), (0x100000000, 0x1040000000, 0), (0x1040000000, 0x2040000000, 1))


def linux_new(rows=ROWS, who="BIOS-e820", heading="BIOS-provided physical RAM map:"):
    """Linux 3.5 and after."""
    return [heading] + [f"{who}: [mem {a:#018x}-{b - 1:#018x}] {t}" for a, b, t in rows]


def linux_old(rows=ROWS, who="BIOS-e820", heading="BIOS-provided physical RAM map:"):
    """Linux 2.4 to 3.4."""
    return [heading] + [f" {who}: {a:016x} - {b:016x} ({t})" for a, b, t in rows]


def linux_oldest(rows=ROWS):
    """Linux 2.2 and 2.3: size at start."""
    return ["BIOS-provided physical RAM map:"] + [
        f" BIOS-e820: {b - a:016x} @ {a:016x} ({t})" for a, b, t in rows
    ]


def xen_new(rows=ROWS, heading="Xen-e820 RAM map:"):
    return [heading] + [f" [{a:016x}, {b - 1:016x}] ({t})" for a, b, t in rows]


def xen_old(rows=ROWS, heading="Xen-e820 RAM map:"):
    return [heading] + [f" {a:016x} - {b:016x} ({t})" for a, b, t in rows]


def xen_arm(ram=RAM):
    return [f"RAM: {a:016x} - {b - 1:016x}" for a, b in ram]


def node_ranges(srat=SRAT, ram=RAM):
    rows = ["Early memory node ranges"]
    for a, b in ram:
        for c, d, node in srat:
            if max(a, c) < min(b, d):
                rows.append(f"  node {node:3d}: [mem {max(a, c):#018x}-{min(b, d) - 1:#018x}]")
    return rows


def efi(rows=ROWS, style="bracket"):
    """The EFI table; ``style``: type numbers half-open, names half-open, names inclusive."""
    numbers = {"usable": 7, "reserved": 0, "ACPI data": 9, "ACPI NVS": 10}
    names = {7: "Conventional Memory", 0: "Reserved", 9: "ACPI Reclaim Memory", 10: "ACPI Memory NVS"}
    lines = []
    for i, (a, b, t) in enumerate(rows):
        n = numbers[t]
        head = f"efi: mem{i:02d}: "
        size = f" ({(b - a) >> 20}MB)"
        if style == "type":
            lines.append(f"{head}type={n}, attr=0xf, range=[{a:#018x}-{b:#018x}){size}")
        else:
            flags = "   |  |  |  |  |  |  |   |WB|WT|WC|UC"
            end = f"{b:#018x})" if style == "half-open" else f"{b - 1:#018x}]"
            lines.append(f"{head}[{names[n]:19s}|{flags}] range=[{a:#018x}-{end}{size}")
    return lines


def smap(rows=ROWS):
    numbers = {"usable": 1, "reserved": 2, "ACPI data": 3, "ACPI NVS": 4}
    return [f"SMAP type={numbers[t]:02x} base={a:016x} len={b - a:016x}" for a, b, t in rows]


def srat_linux(rows=SRAT, flags=""):
    return [f"ACPI: SRAT: Node {n} PXM {n} [mem {a:#010x}-{b - 1:#010x}]{flags}" for a, b, n in rows]


def srat_xen_new(rows=SRAT, mark="SRAT", flags=""):
    return [f"{mark}: Node {n} PXM {n} [{a:016x}, {b - 1:016x}]{flags}" for a, b, n in rows]


def srat_old(rows=SRAT, flags=""):
    return [f"SRAT: Node {n} PXM {n} {a:x}-{b:x}{flags}" for a, b, n in rows]


def text(*parts, prefix=""):
    """Join lists of lines into one log, with a prefix before each line."""
    return "".join(
        f"{prefix}{line}\n" for part in parts for line in ([part] if isinstance(part, str) else part)
    )


def xen(*parts):
    return text(*parts, prefix="(XEN) ")
