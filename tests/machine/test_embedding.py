"""Records by pointer: from C through an address, and from Cython through the core's own struct."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from machines import small_machine

import xenmm

EMBEDDER = """\
# cython: language_level=3
from libc.stdint cimport uint64_t

from xenmm._machine cimport MachineCore


def references(MachineCore core, uint64_t pdx):
    core.acquire()
    cdef uint64_t count = core.m.frame_table[pdx].count_info & ((<uint64_t>1 << 55) - 1)
    core.release()
    return count
"""


class PageInfo(ctypes.Structure):
    """struct page_info, as a C program would declare it."""

    _fields_ = [
        ("next", ctypes.c_uint32),
        ("prev", ctypes.c_uint32),
        ("count_info", ctypes.c_uint64),
        ("type_info", ctypes.c_uint64),
        ("owner", ctypes.c_uint32),
        ("context", ctypes.c_uint32),
    ]


def referenced_page():
    machine = small_machine()
    mfn = machine.create_domain(1).populate(0)
    assert machine.get_page(mfn, 1)
    return machine, machine.page(mfn)


def test_record_by_address():
    machine, page = referenced_page()
    table = ctypes.cast(machine.frame_table_address, ctypes.POINTER(PageInfo))
    record = table[page.pdx]
    assert (record.count_info, record.owner) == (page.count_info, page.owner_pdx)
    # The emulated address is as far into the emulated table as the real one is into the real table.
    offset = page.address - machine.host.params.frametable_virt_start
    assert machine.frame_table_address + offset == ctypes.addressof(record)
    entries = ctypes.cast(machine.m2p_address, ctypes.POINTER(ctypes.c_uint64))
    assert entries[page.mfn] == page.gfn == 0


def test_record_from_cython(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "embedder.pyx"
    source.write_text(EMBEDDER)
    root = Path(xenmm.__file__).parents[1]
    subprocess.run([sys.executable, "-m", "cython", "-I", root, source], check=True, cwd=root)
    target = tmp_path / f"embedder{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_paths()["include"]
    built = tmp_path / "embedder.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", f"-I{include}", "-o", target, built], check=True)
    spec = importlib.util.spec_from_file_location("embedder", target)
    embedder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(embedder)
    machine, page = referenced_page()
    assert embedder.references(machine, page.pdx) == page.references == 2
