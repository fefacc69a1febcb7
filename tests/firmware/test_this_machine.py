"""The machine that xenmm runs on: the best place is read, every refusal is told, nothing is made up."""

from __future__ import annotations

import os
from pathlib import Path

import fake_root
import pytest
from fake_root import IOMEM, KMSG, ZEROS, write

from xenmm import read_map
from xenmm.boot.host import boot
from xenmm.errors import MemoryMapError
from xenmm.firmware.this_machine import read_this_machine
from xenmm.firmware.writers import write_map
from xenmm.report import inputs

RAM = ((0, 0x9FC00), (1 << 20, 1 << 31), (1 << 32, 18 << 30))


def told(machine):
    return {p.path: p.used_for or p.why for p in machine.places}


def test_firmwares_map_with_the_acpi_tables_nodes(tmp_path):
    fake_root.memmap(tmp_path)
    text = (
        "BIOS-e820: [mem 0x0000000000100000-0x000000047fffffff] usable\n"
        "ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x27fffffff]\n"
        "ACPI: SRAT: Node 1 PXM 1 [mem 0x280000000-0x47fffffff]\n"
    )
    write(tmp_path / "sys/firmware/acpi/tables/SRAT", write_map(read_map(text), "srat"))
    machine = read_this_machine(tmp_path)
    assert machine.memory_map.ram == RAM
    assert [(r.start, r.end, r.node) for r in machine.memory_map.srat] == [
        (0, 10 << 30, 0),
        (10 << 30, 18 << 30, 1),
    ]
    assert told(machine) == {"/sys/firmware/memmap": "RAM", "/sys/firmware/acpi/tables/SRAT": "SRAT"}
    assert boot(machine.memory_map, "xen-offset").ram_bytes


def test_nodes_of_the_kernel_log_where_the_table_may_not_be_read(tmp_path):
    fake_root.memmap(tmp_path)
    write(tmp_path / "dev/kmsg", KMSG)
    machine = read_this_machine(tmp_path)
    assert machine.memory_map.format == "firmware-memmap"
    assert machine.memory_map.nodes == (0, 1)
    assert told(machine)["/dev/kmsg"] == "SRAT"
    assert told(machine)["/sys/firmware/acpi/tables/SRAT"] == "not there"


def test_nodes_that_are_withheld_are_told(tmp_path, monkeypatch):
    fake_root.memmap(tmp_path)
    assert read_this_machine(tmp_path).memory_map.notes == ()
    write(tmp_path / "sys/firmware/acpi/tables/SRAT", "")
    read_bytes = Path.read_bytes

    def refused(path):
        if path.name == "SRAT":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    (note,) = read_this_machine(tmp_path).memory_map.notes
    assert note.level == "warning" and "SRAT: Permission denied; root may read them" in note.text
    write(tmp_path / "dev/kmsg", KMSG)
    machine = read_this_machine(tmp_path)
    assert machine.memory_map.notes == () and machine.memory_map.nodes == (0, 1)


def test_kernel_log_alone(tmp_path):
    write(tmp_path / "dev/kmsg", KMSG)
    machine = read_this_machine(tmp_path)
    assert machine.memory_map.ram == RAM and machine.memory_map.nodes == (0, 1)
    assert told(machine)["/dev/kmsg"] == "RAM and SRAT"
    assert "Example Box" in machine.memory_map.name


def test_kernel_log_whose_boot_was_overwritten_goes_on_to_iomem(tmp_path):
    write(tmp_path / "dev/kmsg", "6,900,1,-;usb 1-1: new device\n" * 100)
    write(tmp_path / "proc/iomem", IOMEM)
    machine = read_this_machine(tmp_path)
    assert machine.memory_map.format == "iomem"
    assert machine.memory_map.ram_bytes == 0x9F000 + (1 << 31) - (1 << 20) + (14 << 30)
    assert "/dev/kmsg" in {p.path for p in machine.refusals}


def test_blocks_on_line_where_all_else_is_hidden_say_how_coarse_they_are(tmp_path):
    write(tmp_path / "proc/iomem", ZEROS)
    fake_root.blocks(tmp_path, online=[0, 1, 2, 32, 33], offline=[34])
    machine = read_this_machine(tmp_path)
    block = 128 << 20
    assert machine.memory_map.ram == ((0, 3 * block), (32 * block, 34 * block))
    assert "128 MiB" in machine.memory_map.notes[0].text
    assert "zero" in told(machine)["/proc/iomem"] or "privilege" in told(machine)["/proc/iomem"]


@pytest.mark.parametrize("garbage", ["", "nothing of it\n", "\0\1\2", ZEROS])
def test_garbage_is_never_a_map(tmp_path, garbage):
    for path in ("proc/iomem", "dev/kmsg", "sys/firmware/acpi/tables/SRAT"):
        write(tmp_path / path, garbage)
    (tmp_path / "sys/firmware/memmap").mkdir(parents=True)
    write(tmp_path / "sys/devices/system/memory/block_size_bytes", garbage)
    machine = read_this_machine(tmp_path)
    assert machine.memory_map is None
    assert len(machine.refusals) == len(machine.places) == 5
    assert all("\n" not in str(place) for place in machine.places)


def test_nothing_there_and_nothing_allowed(tmp_path, monkeypatch):
    assert {p.why for p in read_this_machine(tmp_path).places} == {"not there"}
    write(tmp_path / "dev/kmsg", KMSG)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted", "/dev/kmsg")

    monkeypatch.setattr(os, "open", refuse)
    assert told(read_this_machine(tmp_path))["/dev/kmsg"] == "Operation not permitted"


def test_overwritten_records_are_read_past(tmp_path, monkeypatch):
    write(tmp_path / "dev/kmsg", KMSG)
    read, calls = os.read, []

    def interrupted(descriptor, size):
        calls.append(size)
        if len(calls) == 1:
            raise BrokenPipeError(32, "Broken pipe")
        data = read(descriptor, size)
        if not data:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return data

    monkeypatch.setattr(os, "read", interrupted)
    assert read_this_machine(tmp_path).memory_map.ram == RAM


def test_guests_are_told_what_their_map_is(tmp_path):
    fake_root.memmap(tmp_path)
    write(tmp_path / "proc/cpuinfo", "processor : 0\nflags\t\t: fpu vme hypervisor avx\n")
    notes = read_this_machine(tmp_path).memory_map.notes
    assert [n.level for n in notes] == ["note"] and "virtual machine" in notes[0].text
    write(tmp_path / "sys/hypervisor/type", "xen\n")
    notes = read_this_machine(tmp_path).memory_map.notes
    assert [n.level for n in notes] == ["warning"] and "xl dmesg" in notes[0].text


@pytest.mark.parametrize(("kib", "warned"), [(16 << 20, 0), (17 << 20, 1)])
def test_more_memory_than_the_map_has_is_told(tmp_path, kib, warned):
    fake_root.memmap(tmp_path)
    write(tmp_path / "proc/meminfo", f"MemTotal:       {kib - 2048} kB\n")
    notes = read_this_machine(tmp_path).memory_map.notes
    assert len(notes) == warned and all("this kernel's" in n.text for n in notes)


def test_machines_name(tmp_path):
    fake_root.memmap(tmp_path)
    assert read_this_machine(tmp_path).memory_map.name == "this machine"
    write(tmp_path / "sys/class/dmi/id/sys_vendor", "Example\n")
    write(tmp_path / "sys/class/dmi/id/product_name", "Box 1\n")
    assert read_this_machine(tmp_path).memory_map.name == "this machine (Example Box 1)"


def test_its_name_as_an_input(tmp_path, monkeypatch):
    fake_root.memmap(tmp_path)
    monkeypatch.setattr(inputs, "read_this_machine", lambda: read_this_machine(tmp_path))
    memory_map, given = inputs.load("this-machine")
    assert memory_map.ram == RAM and given.name == "this-machine" and not given.bundled
    monkeypatch.setattr(inputs, "read_this_machine", lambda: read_this_machine(tmp_path / "empty"))
    with pytest.raises(MemoryMapError, match=r"/dev/kmsg: not there.*sudo dmesg \| xenmm report -"):
        inputs.load("this-machine")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "this-machine").write_text("BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable\n")
    assert inputs.load("this-machine")[0].ram == ((1 << 20, 1 << 31),)
