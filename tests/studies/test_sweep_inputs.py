"""What counts as an input of a sweep: files, folders, patterns, bundled machines."""

import os

import pytest

from xenmm.errors import ConfigError
from xenmm.maps import bundled
from xenmm.studies.sweep_inputs import MARKER, find_inputs

E820 = "BIOS-provided physical RAM map:\nBIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable\n"


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("logs/b.log", "logs/a.log", "logs/deep/c.dmesg", "logs/.hidden", "logs/deep/.git/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(E820)
    return tmp_path


def names(*sources):
    return [each.name for each in find_inputs(list(sources))]


def test_a_folder_is_every_file_in_and_below_it_in_order(there):
    assert names("logs") == ["logs/a.log", "logs/b.log", "logs/deep/c.dmesg"]


def test_a_pattern_is_what_it_matches(there):
    assert names("logs/*.log") == ["logs/a.log", "logs/b.log"]
    assert names("logs/**/*.dmesg") == ["logs/deep/c.dmesg"]
    with pytest.raises(ConfigError, match=r"no file matches 'logs/\*\.txt'"):
        find_inputs("logs/*.txt")


def test_each_is_taken_once(there):
    assert names("logs/b.log", "logs", "logs/*.log") == ["logs/b.log", "logs/a.log", "logs/deep/c.dmesg"]


def test_bundled_machines_one_or_all(there):
    assert names("dell-r930") == ["dell-r930"]
    assert names("bundled") == list(bundled())
    # A file of the same name is the file.
    (there / "dell-r930").write_text(E820)
    (given,) = find_inputs("dell-r930")
    assert not given.bundled


def test_results_of_a_sweep_are_no_inputs(there):
    (there / "logs" / "out" / "cells").mkdir(parents=True)
    (there / "logs" / "out" / MARKER).write_text("{}")
    (there / "logs" / "out" / "table.csv").write_text("")
    assert names("logs") == ["logs/a.log", "logs/b.log", "logs/deep/c.dmesg"]


def test_a_copy_of_firmware_memmap_is_one_input_and_its_hash_is_of_all_in_it(there):
    for number, name, value in (
        (0, "start", "0x100000"),
        (0, "end", "0x7fffffff"),
        (0, "type", "System RAM"),
    ):
        path = there / "memmap" / str(number) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    (before,) = find_inputs("memmap")
    (there / "memmap" / "0" / "end").write_text("0x8fffffff\n")
    (after,) = find_inputs("memmap")
    assert before.name == after.name == "memmap" and before.sha256 != after.sha256


def test_what_names_nothing_is_refused(there):
    with pytest.raises(ConfigError, match="no such file, and no bundled machine of that name: 'nowhere'"):
        find_inputs(["logs", "nowhere"])
    with pytest.raises(ConfigError, match="standard input"):
        find_inputs("-")
    (there / "void").mkdir()
    with pytest.raises(ConfigError, match="no inputs"):
        find_inputs("void")
    with pytest.raises(ConfigError, match="no inputs"):
        find_inputs([])


def test_what_cannot_be_read_is_an_input_with_no_hash(there):
    os.symlink("nowhere", there / "dangling.log")
    (given,) = find_inputs("dangling.log")
    assert given.sha256 is None
