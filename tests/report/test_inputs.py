"""The input of a command, whatever kind of file it is: read once, named, hashed."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading

import pytest
from elf_samples import core

from xenmm.constants import GIB
from xenmm.errors import MemoryMapError
from xenmm.firmware.elf_core import BEGINNING_BYTES
from xenmm.firmware.memory_map import MemoryMap
from xenmm.firmware.source import file_hash, read_stream
from xenmm.maps import bundled
from xenmm.report.inputs import load, need_ram, read_stdin
from xenmm.studies.sweep_cells import content_hash

E820 = b"BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable\n"


def test_file_pipe_and_bytes_are_one(tmp_path):
    path = tmp_path / "machine.log"
    path.write_bytes(E820)
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(E820))
    writer.start()
    found = [load(str(path)), load(str(fifo)), load("-", E820)]
    writer.join()
    assert {m.sha256 for m, _ in found} == {found[0][0].sha256}
    assert {(i.bytes, i.sha256) for _, i in found} == {(len(E820), hashlib.sha256(E820).hexdigest())}
    assert [i.name for _, i in found] == [str(path), str(fifo), "<stdin>"]


def test_of_a_dump_only_the_beginning_is_read_and_hashed(tmp_path, monkeypatch):
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    path = tmp_path / "vmcore"
    with path.open("wb") as file:
        file.write(core([(GIB, GIB)]))
        file.truncate(1 << 42)
    beginning = core([(GIB, GIB)]).ljust(BEGINNING_BYTES, b"\0")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(beginning + b"more")))
    found = [load(str(path)), load("-", read_stdin())]
    assert {m.ram for m, _ in found} == {((GIB, 2 * GIB),)}
    expected = (hashlib.sha256(beginning).hexdigest(), BEGINNING_BYTES)
    assert {(i.sha256, i.bytes) for _, i in found} == {expected}
    assert content_hash(path) == expected


@pytest.mark.parametrize("data", [b"", b"\x7f", b"\x7fEL", b"\x7fELF", E820])
def test_the_whole_of_what_is_short_is_hashed(data, tmp_path):
    path = tmp_path / "input"
    path.write_bytes(data)
    expected = (hashlib.sha256(data).hexdigest(), len(data))
    assert file_hash(path) == content_hash(path) == expected
    assert read_stream(io.BytesIO(data), 1 << 30) == data


@pytest.mark.parametrize("most", [0, 3, 4, 5, 100])
def test_no_more_is_read_of_standard_input_than_could_be_of_use(most):
    stream = io.BytesIO(bytes(1000))
    assert len(read_stream(stream, most)) == max(4, most) == stream.tell()


def test_a_file_goes_before_a_bundled_machine_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = next(iter(bundled()))
    assert load(name)[1].bundled
    (tmp_path / name).write_bytes(E820)
    memory_map, given = load(name)
    assert not given.bundled and memory_map.ram == ((1 << 20, 1 << 31),)


def test_a_name_that_is_neither_is_refused(tmp_path):
    with pytest.raises(MemoryMapError, match="bundled"):
        load(str(tmp_path / "nothing"))


def test_a_folder_of_firmware_facts_has_no_hash(tmp_path):
    for number, (start, last) in enumerate([(0, 0x9FBFF), (0x100000, 0x7FFFFFFF)]):
        entry = tmp_path / str(number)
        entry.mkdir()
        (entry / "start").write_text(f"{start:#x}\n")
        (entry / "end").write_text(f"{last:#x}\n")
        (entry / "type").write_text("System RAM\n")
    memory_map, given = load(str(tmp_path))
    assert memory_map.top == 1 << 31 and given.sha256 is None


@pytest.mark.parametrize(
    ("ram", "srat", "says"),
    [([], [(0, 1 << 30)], "1 SRAT row;"), ([], None, "other kinds"), ([(0, 0x9FC00)], None, "first MiB")],
)
def test_a_map_without_ram_to_boot_on_is_refused(ram, srat, says):
    with pytest.raises(MemoryMapError, match=says) as caught:
        need_ram(MemoryMap.from_ranges(ram, srat), "machine.log")
    assert str(caught.value).startswith("machine.log: ")
