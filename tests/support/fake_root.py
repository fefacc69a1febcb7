"""Folders that look like the ``/proc``, ``/sys`` and ``/dev`` of a machine."""

from __future__ import annotations

ZEROS = "00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n00000000-00000000 : System RAM\n"
IOMEM = (
    "00000000-00000fff : Reserved\n00001000-0009ffff : System RAM\n00100000-7fffffff : System RAM\n"
    "100000000-47fffffff : System RAM\n"
)
ROWS = [
    (0x0, 0x9FBFF, "System RAM"),
    (0x100000, 0x7FFFFFFF, "System RAM"),
    (1 << 32, (18 << 30) - 1, "System RAM"),
]
KMSG = "".join(
    f"6,{i},{i * 100},-;{text}\n"
    for i, text in enumerate(
        [
            "Linux version 6.12.0",
            "BIOS-provided physical RAM map:",
            "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
            "BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable",
            "BIOS-e820: [mem 0x0000000100000000-0x000000047fffffff] usable\n SUBSYSTEM=acpi",
            "DMI: Example Box/Board, BIOS 1.0 01/01/2024",
            "ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x27fffffff]",
            "ACPI: SRAT: Node 1 PXM 1 [mem 0x280000000-0x47fffffff]",
        ]
    )
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def memmap(root, rows=ROWS):
    for number, (start, end, kind) in enumerate(rows):
        for name, value in (("start", hex(start)), ("end", hex(end)), ("type", kind)):
            write(root / "sys/firmware/memmap" / str(number) / name, value + "\n")


def blocks(root, block=128 << 20, online=range(16), offline=()):
    write(root / "sys/devices/system/memory/block_size_bytes", f"{block:x}\n")
    for numbers, state in ((online, "online"), (offline, "offline")):
        for n in numbers:
            write(root / f"sys/devices/system/memory/memory{n}/state", state + "\n")
