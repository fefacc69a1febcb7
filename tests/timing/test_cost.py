"""The table of primitives: against measured hardware, against compilers, and by its own rules."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess

import pytest

import xenmm
from xenmm._embed import struct_values
from xenmm.errors import ConfigError
from xenmm.maps import open_map
from xenmm.timing.cost import code_bytes, cost
from xenmm.timing.operations import Operations, operations, operations_of
from xenmm.timing.primitives import MODES, WAYS, parse_program, primitives, program

# A loop of eight calls around one fused decrement and branch.
LOOP = 1 / 8

# Measured on a Zen 3 server (gcc -O2, user-mode cycle counter, throughput eight times unrolled).
MEASURED = [
    ("mfn_to_page", "mask", "variables", 5, 1.56),
    ("page_to_mfn", "mask", "variables", 5, 1.54),
    ("mfn_to_virt", "mask", "variables", 5, 1.75),
    ("mfn_to_page", "mask", "constants", 5, 1.53),
    ("page_to_mfn", "mask", "constants", 5, 1.53),
    ("mfn_to_virt", "mask", "constants", 5, 1.53),
    ("mfn_to_page", "none", "constants", 2, 0.545),
    ("page_to_mfn", "none", "constants", 2, 0.545),
    ("mfn_to_virt", "none", "constants", 2, 0.545),
    ("map_domain_page(page)", "mask", "variables", 3, 0.78),
    ("map_domain_page(page_to_mfn(page))", "mask", "variables", 10, 3.17),
    ("map_domain_page(page_to_mfn(page))", "mask", "constants", 9, 3.06),
    ("map_domain_page(page_to_mfn(page))", "none", "constants", 4, 1.08),
    ("mfn_to_page", "offset", "variables", 10, 2.00),
]


@pytest.mark.parametrize(("primitive", "mode", "way", "latency", "_"), MEASURED)
def test_latency_is_what_was_measured(primitive, mode, way, latency, _):
    assert cost(primitive, mode, way, "zen3").latency == latency


def test_throughput_is_what_was_measured_within_five_percent_on_average(capsys):
    errors = {}
    for primitive, mode, way, _, measured in MEASURED:
        modelled = cost(primitive, mode, way, "zen3", around=LOOP).throughput
        errors[primitive, mode, way] = abs(modelled / measured - 1)
    worst = max(errors, key=errors.get)
    mean = sum(errors.values()) / len(errors)
    with capsys.disabled():
        print(
            f"\nthroughput on zen3: {100 * mean:.1f}% on average; worst {worst}: {100 * errors[worst]:.0f}%"
        )
    assert mean < 0.05
    assert worst == ("mfn_to_page", "offset", "variables")


@pytest.mark.parametrize("mode", MODES)
def test_programs_compute_what_the_conversions_compute(mode):
    host = host_of(mode)
    values = struct_values(host.capsule) | {"pdx_group_valid": None}
    frames = [start >> 12 for start, _ in host.memory_map.ram] + [
        (end >> 12) - 1 for _, end in host.memory_map.ram
    ]
    frames = [mfn for mfn in frames if host.mfn_valid(mfn)]
    pages = [host.mfn_to_page(mfn) for mfn in frames]
    virts = [host.mfn_to_virt(mfn) for mfn in frames]
    inputs = {
        "mfn_to_pdx": frames,
        "pdx_to_mfn": [host.mfn_to_pdx(mfn) for mfn in frames],
        "mfn_to_page": frames,
        "page_to_mfn": pages,
        "mfn_to_virt": frames,
        "virt_to_mfn": virts,
        "maddr_to_virt": [(mfn << 12) + 0x123 for mfn in frames],
        "virt_to_maddr": [virt + 0x123 for virt in virts],
        "page_to_virt": pages,
        "virt_to_page": virts,
    }
    for primitive, arguments in inputs.items():
        for x in arguments:
            assert execute(program(primitive, mode), values, x) == getattr(host, primitive)(x)
    for page, virt in zip(pages, virts, strict=True):
        assert execute(program("map_domain_page(page_to_mfn(page))", mode), values, page) == virt


def execute(p, values, x):
    """Run a program's arithmetic on 64-bit numbers."""
    registers = {"x": x}
    for s in p.steps:
        if s.kind == "br":
            continue
        if s.kind == "index":
            registers[s.result] = values[s.memory][registers[s.sources[0]]]
            continue
        a = registers[s.sources[0]]
        b = s.immediate
        if s.parameter:
            b = values[s.parameter]
        elif len(s.sources) == 2:
            b = registers[s.sources[1]]
        result = {
            "add": lambda a, b: a + b,
            "sub": lambda a, b: a - b,
            "and": lambda a, b: a & b,
            "or": lambda a, b: a | b,
            "shl": lambda a, b: a << b,
            "shr": lambda a, b: a >> b,
        }[s.kind](a, b)
        registers[s.result] = result % (1 << 64)
    return registers["x"]


PROFILES = {"none": "xen-none", "mask": "xen-mask", "offset": "xen-offset"}
MACHINE = "b9-ldr-uneven-offset"


def host_of(mode):
    host = xenmm.boot(xenmm.read_map(open_map(MACHINE), name=MACHINE), PROFILES[mode])
    assert host.compression.kind == mode
    return host


@pytest.mark.parametrize("mode", MODES)
def test_what_is_read_of_memory(mode):
    def reads(primitive, way):
        return [a.what for a in program(primitive, mode, way).accesses]

    # Constants leave the tables, the bitmap, the records and the M2P; never a variable.
    for primitive in primitives():
        assert "variable" not in reads(primitive, "constants")
        kept = [a for a in reads(primitive, "variables") if a != "variable"]
        assert kept == reads(primitive, "constants")
    assert reads("mfn_valid", "constants").count("bitmap") == 1
    assert reads("mfn_to_page", "constants") == ["table"] * (mode == "offset")
    assert reads("m2p_read", "constants") == ["m2p"]
    assert reads("get_page", "constants") == ["page_info"] * 3
    names = {a.name for a in program("mfn_to_page", mode).accesses}
    assert (
        names
        == {
            "none": {"frametable_virt_start"},
            "mask": {"pfn_pdx_bottom_mask", "pfn_top_mask", "pfn_pdx_hole_shift", "frametable_virt_start"},
            "offset": {"pfn_index_shift", "pfn_pdx_lookup", "frametable_virt_start"},
        }[mode]
    )


def test_a_store_has_no_latency_and_only_writers_write():
    assert cost("m2p_write", "none").latency is None
    writers = {p for p in primitives() if any(a.writes for a in program(p, "none").accesses)}
    assert writers == {"m2p_write", "get_page", "put_page", "get_page_type", "put_page_type"}


@pytest.mark.parametrize("uarch", sorted(operations()))
def test_every_microarchitecture_costs_every_primitive(uarch):
    core = operations_of(uarch)
    for primitive in primitives():
        for mode in MODES:
            for way in WAYS:
                c = cost(primitive, mode, way, core)
                assert c.throughput >= c.alu_ops / core.alus
                assert c.throughput >= c.ops / core.width
                if c.latency is not None:
                    # One call cannot take longer than its chain plus what fills the machine.
                    assert c.latency >= 0
                    assert c.to_dict()["latency"] == c.latency
    assert all(core.sources.values())


KNOWN = {
    *("nehalem", "westmere", "skylake-sp", "icelake-sp", "sapphire-rapids"),
    *("zen2", "zen3", "zen4", "neoverse-n1"),
}


def test_all_microarchitectures_are_there():
    assert set(operations()) == KNOWN | {"zen5"}


def test_compression_costs_latency_and_never_saves_any():
    for primitive in primitives():
        none, mask, offset = (cost(primitive, mode).latency for mode in MODES)
        if none is not None:
            assert none <= mask <= offset


def test_wider_cores_are_never_slower():
    core = operations_of("zen3")
    wider = Operations(**{f: getattr(core, f) for f in core.__dataclass_fields__} | {"alus": 5, "width": 7})
    for primitive in primitives():
        for mode in MODES:
            assert (
                cost(primitive, mode, uarch=wider).throughput <= cost(primitive, mode, uarch=core).throughput
            )


def test_a_loop_fills_slots_of_the_width_and_its_copies_too():
    zen3 = operations_of("zen3")
    core = Operations(**{f: getattr(zen3, f) for f in zen3.__dataclass_fields__} | {"alus": 60, "shifts": 60})
    for primitive in ("mfn_to_page", "mfn_to_virt", "page_to_virt"):
        alone = cost(primitive, "none", "constants", core)
        assert (alone.bound_by, alone.throughput) == ("width", alone.ops / core.width)
        around, copies, both = (
            cost(primitive, "none", "constants", core, around=a, copies=c).throughput - alone.throughput
            for a, c in ((1.5, 0), (0, 2.5), (1.5, 2.5))
        )
        assert [around, copies, both] == pytest.approx([n / core.width for n in (1.5, 2.5, 4)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mfn_to_pgae", "mask"), "primitive: 'mfn_to_pgae' is not one of mfn_to_pdx"),
        (("mfn_to_page", "masks"), "mode: 'masks' is not one of none, mask, offset"),
        (("mfn_to_page", "mask", "frozen"), "way: 'frozen' is not one of variables, constants"),
        (("mfn_to_page", "mask", "variables", "zen9"), "microarchitecture: 'zen9' is not one of"),
    ],
)
def test_unknown_names_are_named(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        cost(*arguments)


C = """
#include "xenmm.h"
#include <stddef.h>
extern const xenmm_params parameters;
#define F(m, n) uint64_t variables_##m##_##n(uint64_t x) { return xenmm_##m##_##n(&parameters, x); }
#define ALL(m) F(m, mfn_to_page) F(m, page_to_mfn) F(m, mfn_to_virt) F(m, virt_to_mfn) F(m, maddr_to_virt)
ALL(none) ALL(mask) ALL(offset)
"""


def test_code_bytes_are_near_the_compilers(tmp_path):
    gcc = shutil.which("gcc")
    if gcc is None or shutil.which("nm") is None:
        pytest.skip("gcc and nm are not installed")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the bytes are of x86-64")
    frozen = host_of("mask").export("c", prefix="mask")
    (tmp_path / "mask.h").write_text(frozen)
    extra = "".join(
        f"uint64_t constants_mask_{n}(uint64_t x) {{ return mask_{n}(x); }}\n"
        for n in ("mfn_to_page", "page_to_mfn", "mfn_to_virt")
    )
    (tmp_path / "t.c").write_text(C + '#include "mask.h"\n' + extra)
    include = xenmm.get_include()
    flags = ["-O2", "-fcf-protection=none", "-falign-functions=1", f"-I{include}"]
    run = subprocess.run(
        [gcc, *flags, "-c", "t.c", "-o", "t.o"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    symbols = subprocess.run(
        ["nm", "-S", "--defined-only", str(tmp_path / "t.o")], capture_output=True, text=True, check=True
    ).stdout
    values = struct_values(host_of("mask").capsule)
    errors = {}
    for line in symbols.splitlines():
        _, size, kind, name = line.split()
        way, mode, primitive = name.split("_", 2)
        if kind != "T" or way not in WAYS:
            continue
        # Without its return.
        real = int(size, 16) - 1
        if primitive == "virt_to_mfn":
            # The frames of the image go another way, out of line.
            continue
        errors[name] = cost(primitive, mode, way, values=values).code_bytes / real - 1
    assert len(errors) >= 12
    assert sum(map(abs, errors.values())) / len(errors) < 0.15, errors
    assert max(map(abs, errors.values())) < 0.35, errors


#: A step, where its parameters are, and x86-64 instructions that do it.
STEPS = [
    ("x = index $m2p x", "variables", "mov table(%rip), %rax; mov (%rax,%rdi,8), %rax"),
    ("base = index pfn_pdx_lookup slot", "variables", "lea table(%rip), %rax; mov 512(%rax,%rcx,8), %rax"),
    ("count = load count_info x", "variables", "mov 8(%rdi), %rax"),
    ("done = atomic count_info x count less", "variables",
     "mov %rcx, %rax; lock cmpxchg %rdx, 8(%rdi); 1: jne 1b"),
    ("x = add x $frametable_virt_start", "variables", "add table(%rip), %rdi"),
    ("x = shl x 5", "variables", "shl $5, %rdi"),
    ("x = sub x base", "variables", "sub %rax, %rdi"),
    ("slot = and slot 63", "variables", "and $63, %rcx"),
    ("br x $max_page", "variables", "cmp table(%rip), %rdi; 1: jae 1b"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "way", "instructions"), STEPS, ids=[s.split(" = ")[-1] for s, *_ in STEPS])
def test_code_bytes_of_a_step_are_the_assemblers(tmp_path, step, way, instructions):
    if platform.machine() not in ("x86_64", "AMD64") or shutil.which("gcc") is None:
        pytest.skip("no gcc for x86-64 is installed")
    source, made = tmp_path / "t.s", tmp_path / "t.o"
    source.write_text(f".globl f\nf: {instructions}\n.size f, . - f\n")
    subprocess.run(["gcc", "-c", source, "-o", made], check=True)
    shown = subprocess.run(["nm", "-S", made], capture_output=True, text=True, check=True).stdout
    size = next(int(line.split()[1], 16) for line in shown.splitlines() if line.endswith(" f"))
    assert code_bytes(parse_program("step", "none", way, step), {}) == size
