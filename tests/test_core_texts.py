"""The two texts of the arithmetic, C and Cython, compiled here and held to one file of vectors.

The vectors are the slow model's (tests/support/make_vectors.py). Both texts are asked by mode and in general.
"""

import ctypes
import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hosts import assorted_params, domain_edges, make_host
from make_vectors import TARGET, vectors
from oracle import CONVERSIONS, RECORD_BYTES, U64, Oracle
from tree import needs_source

import xenmm

ROOT = Path(xenmm.__file__).parent
INCLUDE = ROOT / "include"
CC = shutil.which(os.environ.get("CC", "cc"))
CXX = shutil.which(os.environ.get("CXX", "c++"))
QUIET = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror"]
#: The texts' other functions, which no array and no method has.
PARTS = (
    *("maddr_to_directmapoff", "directmapoff_to_maddr", "mfn_compressible", "mfn_in_directmap"),
    *("maddr_in_directmap", "group_valid", "page_valid", "virt_in_image", "virt_in_directmap"),
    *("pdx_to_page", "page_to_pdx"),
)
FUNCTIONS = (*CONVERSIONS, "mfn_valid", *PARTS)
JUDGES = {name for name in FUNCTIONS if "_to_" not in name}
GENERIC_ONLY = {"page_to_virt", "page_to_mfn_to_virt", *PARTS[4:]}

needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler")

ARM_CC = shutil.which("aarch64-linux-gnu-gcc")
ARM = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
needs_arm = pytest.mark.skipif(
    ARM_CC is None or ARM is None,
    reason="no aarch64-linux-gnu-gcc and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu, qemu-user)",
)


@functools.cache
def recorded():
    return json.loads(TARGET.read_text())


def test_recorded_vectors_are_the_slow_models():
    for name, params in assorted_params().items():
        fresh = json.loads(json.dumps(vectors(name, params)))
        assert recorded()[name] == fresh, f"{name}: run tests/support/make_vectors.py"


def test_python_methods_reproduce_the_vectors():
    for entry in recorded().values():
        params = {**entry["params"], "pdx_group_valid": bytes.fromhex(entry["params"]["pdx_group_valid"])}
        host = make_host(params)
        for name, column in entry["conversions"].items():
            method = host.mfn_valid if name == "mfn_valid" else getattr(host, f"{name}_unchecked")
            assert [hex(method(int(x, 16))) for x in column["x"]] == column["y"], name


# One program for both texts: it reads "CONVERSION MODE VALUE" and prints every answer the text can give.
C_MAIN = """
#include <inttypes.h>
#include <stdio.h>
#include "xenmm.h"
#include "params.h"
{functions}
int main(void)
{{
    unsigned which, conversion;
    uint64_t x;
    while (scanf("%u %u %" SCNx64, &which, &conversion, &x) == 3)
        answer(sets[which], conversion, x);
    return 0;
}}
"""

FIELDS = [
    *("pfn_pdx_bottom_mask", "pfn_top_mask", "pfn_hole_mask", "ma_va_bottom_mask", "ma_top_mask"),
    *("pdx_region_size", "max_page", "max_pdx", "directmap_virt_start", "directmap_virt_end"),
    *("frametable_virt_start", "frametable_virt_end", "rdwr_mpt_virt_start", "rdwr_mpt_virt_end"),
    *("ro_mpt_virt_start", "rdwr_compat_mpt_virt_start", "xen_virt_start", "xen_virt_end"),
]
SHIFTS = ("pfn_pdx_hole_shift", "pfn_index_shift", "pdx_index_shift")


def c_set(index, params):
    """One parameter set as assignments in C, made here and not by the package."""
    bitmap = bytes.fromhex(params["pdx_group_valid"])
    words = [int.from_bytes(bitmap[i : i + 8], "little") for i in range(0, len(bitmap), 8)] or [0]
    lines = [f"static const uint64_t groups_{index}[] = {{{', '.join(f'{w:#x}u' for w in words)}}};"]
    lines += [f"static xenmm_params set_{index}; static void fill_{index}(xenmm_params *p) {{"]
    lines += ["p->abi_version = XENMM_ABI_VERSION; p->size = (uint32_t)sizeof *p;"]
    lines += [f"p->mode = XENMM_MODE_{params['pdx_compression'].upper()};"]
    lines += [f"p->{n} = {params[n]}u;" for n in SHIFTS]
    lines += [f"p->{n} = UINT64_C({params[n]:#x});" for n in FIELDS]
    lines += ["for (int i = 0; i < 64; i++) p->pfn_bases[i] = UINT64_MAX;"]
    for table in ("pfn_pdx_lookup", "pdx_pfn_lookup", "pfn_bases"):
        values = enumerate(params[table])
        lines += [f"p->{table}[{i}] = UINT64_C({v % (1 << 64):#x});" for i, v in values]
    lines += [f"p->pdx_group_count = {8 * len(bitmap)}; p->pdx_group_valid = groups_{index};"]
    if params["xen_phys_start"] is not None:
        lines += [f"p->xen_phys_start = UINT64_C({params['xen_phys_start']:#x});"]
        lines += ["p->xen_image_bytes = p->xen_virt_end - p->xen_virt_start;"]
    return "\n".join([*lines, "}"])


def params_header():
    texts = [c_set(i, entry["params"]) for i, entry in enumerate(recorded().values())]
    count = len(texts)
    table = ", ".join(f"&set_{i}" for i in range(count))
    fills = " ".join(f"fill_{i}(&set_{i});" for i in range(count))
    texts.append(f"static xenmm_params *const sets[] = {{{table}}};")
    texts.append(f"static void fill_all(void) {{ {fills} }}")
    return "\n".join(texts)


def c_answers():
    """The function `answer`: prints generic, by-mode and checked results of conversion number n."""
    lines = ["static void answer(const xenmm_params *p, unsigned conversion, uint64_t x) {"]
    lines += ["uint64_t generic = 0, by_mode = 0, checked = 0; int error = -1;", "switch (conversion) {"]
    for number, name in enumerate(FUNCTIONS):
        cast = "(uint64_t)" if name in JUDGES else ""
        generic = f"{cast}xenmm_{name}(p, x)"
        if name == "page_to_mfn_to_virt":
            generic = "xenmm_mfn_to_virt(p, xenmm_page_to_mfn(p, x))"
        by_mode = generic
        if name not in GENERIC_ONLY:
            modes = [f"{cast}xenmm_{mode}_{name}(p, x)" for mode in ("none", "mask", "offset")]
            by_mode = f"p->mode == 0 ? {modes[0]} : p->mode == 1 ? {modes[1]} : {modes[2]}"
        lines.append(f"case {number}: generic = {generic}; by_mode = {by_mode};")
        if name in CONVERSIONS and name != "page_to_mfn_to_virt":
            lines.append(f"error = (int)xenmm_{name}_checked(p, x, &checked);")
        lines.append("break;")
    lines += ["default: break; }", 'printf("%" PRIx64 " %" PRIx64 " %d %" PRIx64 "\\n",']
    lines += ["generic, by_mode, error, checked); }"]
    return "\n".join(lines)


def models_of_parts(params):
    """The slow model's answers to the other functions, and of each the conversion with the same inputs."""
    model = Oracle(params)
    image = model.image or (0, 0)
    return {
        "maddr_to_directmapoff": (model.maddr_to_directmapoff, "maddr_to_virt"),
        "directmapoff_to_maddr": (model.directmapoff_to_maddr, "maddr_to_virt"),
        "mfn_compressible": (model.compressible, "mfn_to_virt"),
        "mfn_in_directmap": (lambda mfn: model.in_domain("mfn_to_virt", mfn), "mfn_to_virt"),
        "maddr_in_directmap": (lambda maddr: model.in_domain("maddr_to_virt", maddr), "maddr_to_virt"),
        "group_valid": (model.group_valid, "pdx_to_mfn"),
        "page_valid": (lambda page: model.in_domain("page_to_mfn", page), "page_to_mfn"),
        "virt_in_image": (lambda virt: image[0] <= virt < image[1], "virt_to_mfn"),
        "virt_in_directmap": (lambda virt: model.direct_map <= virt < model.direct_map_end, "virt_to_mfn"),
        "pdx_to_page": (lambda pdx: (model.frame_table + RECORD_BYTES * pdx) % U64, "pdx_to_mfn"),
        "page_to_pdx": (lambda page: (page - model.frame_table) % U64 // RECORD_BYTES, "page_to_mfn"),
    }


def questions_of_parts():
    for which, entry in enumerate(recorded().values()):
        params = {**entry["params"], "pdx_group_valid": bytes.fromhex(entry["params"]["pdx_group_valid"])}
        for name, (model, alike) in models_of_parts(params).items():
            for x in domain_edges(params, alike):
                yield which, FUNCTIONS.index(name), name, x, int(model(x)), 2


@functools.cache
def questions():
    return [*questions_of_vectors(), *questions_of_parts()]


def questions_of_vectors():
    for which, entry in enumerate(recorded().values()):
        for conversion, name in enumerate((*CONVERSIONS, "mfn_valid")):
            column = entry["conversions"][name]
            domain = column.get("in_domain", [2] * len(column["x"]))
            for x, y, good in zip(column["x"], column["y"], domain, strict=True):
                yield which, conversion, name, int(x, 16), int(y, 16), good


def check_c(tmp_path, compiler, standard, suffix, *options, runner=()):
    (tmp_path / "params.h").write_text(params_header())
    source = tmp_path / f"main{suffix}"
    text = C_MAIN.format(functions=c_answers())
    source.write_text(text.replace("unsigned which,", "fill_all();\n    unsigned which,"))
    program = tmp_path / "main"
    command = [compiler, standard, *options, *QUIET, f"-I{INCLUDE}", f"-I{tmp_path}", str(source), "-o"]
    subprocess.run([*command, str(program)], check=True, capture_output=True, text=True)
    asked = questions()
    typed = "".join(f"{which} {conversion} {x:x}\n" for which, conversion, _, x, _, _ in asked)
    started = [*runner, str(program)]
    printed = subprocess.run(started, input=typed, check=True, capture_output=True, text=True).stdout
    answers = [line.split() for line in printed.splitlines()]
    assert len(answers) == len(asked)
    for (_, _, name, x, y, in_domain), (generic, by_mode, error, checked) in zip(asked, answers, strict=True):
        assert int(generic, 16) == int(by_mode, 16) == y, (name, hex(x))
        if error != "-1":
            assert (int(error) == 0) == bool(in_domain), (name, hex(x))
            assert int(checked, 16) == (y if in_domain else 0), (name, hex(x))


@needs_cc
@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
def test_c_text_reproduces_the_vectors_as_c99(tmp_path, optimise):
    check_c(tmp_path, CC, "-std=c99", ".c", optimise)


@pytest.mark.skipif(CXX is None, reason="no C++ compiler")
def test_c_text_reproduces_the_vectors_as_cxx11(tmp_path):
    check_c(tmp_path, CXX, "-std=c++11", ".cc", "-O1")


@needs_arm
def test_c_text_reproduces_the_vectors_on_aarch64(tmp_path):
    check_c(tmp_path, ARM_CC, "-std=c99", ".c", "-O2", "-static", runner=[ARM])


# The loops over arrays: reads "SET CONVERSION N" and N values; prints the loops' name, then for each array
# its results without check, and how many values there are before the first that the check refuses.
LOOPS_MAIN = r"""
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "_kernels.h"
#include "params.h"
int main(void)
{
    static uint64_t in[1 << 16], out[1 << 16];
    unsigned which;
    int conversion;
    size_t n, i;
    fill_all();
    xk_select(-1);
    printf("%s\n", xk_name(xk_selected()));
    while (scanf("%u %d %zu", &which, &conversion, &n) == 3) {
        xk_plan *plan = calloc(1, sizeof *plan);
        plan->params = *sets[which];
        xk_derive(plan);
        for (i = 0; i < n; i++)
            if (scanf("%" SCNx64, &in[i]) != 1)
                return 1;
        if (conversion == XK_MFN_VALID) {
            uint8_t *const verdicts = (uint8_t *)out;
            xk_mfn_valid(plan, in, verdicts, n);
            for (i = 0; i < n; i++)
                printf("%x ", (unsigned)verdicts[i]);
        } else {
            xk_convert(plan, conversion, in, out, n, 0);
            for (i = 0; i < n; i++)
                printf("%" PRIx64 " ", out[i]);
            memset(out, 0, n * sizeof *out);
            printf("%zu", xk_convert(plan, conversion, in, out, n, 1));
        }
        printf("\n");
        free(plan);
    }
    return 0;
}
"""


@needs_arm
@needs_source
def test_loops_reproduce_the_vectors_on_aarch64(tmp_path):
    (tmp_path / "params.h").write_text(params_header())
    (tmp_path / "main.c").write_text(LOOPS_MAIN)
    program = tmp_path / "main"
    includes = [f"-I{INCLUDE}", f"-I{ROOT}", f"-I{tmp_path}"]
    sources = [str(tmp_path / "main.c"), str(ROOT / "_kernels.c")]
    quiet = ["-Wall", "-Wextra", "-Werror"]
    command = [ARM_CC, "-O3", *quiet, "-static", *includes, *sources, "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    asked, typed = [], []
    for which, entry in enumerate(recorded().values()):
        for conversion, name in enumerate((*CONVERSIONS, "mfn_valid")):
            column = entry["conversions"][name]
            good = column.get("in_domain", [1] * len(column["x"]))
            rows = list(zip(column["x"], column["y"], good, strict=True))
            # Neighbours, then strangers, then the domain alone: each way through a loop.
            for chosen in ([row for row in rows for _ in range(40)], rows, [row for row in rows if row[2]]):
                asked.append((name, chosen))
                values = " ".join(x.removeprefix("0x") for x, _, _ in chosen)
                typed.append(f"{which} {conversion} {len(chosen)} {values}\n")
    printed = subprocess.run(
        [ARM, str(program)], input="".join(typed), check=True, capture_output=True, text=True
    ).stdout
    loops, *answers = printed.splitlines()
    assert loops == "plain"
    assert len(answers) == len(asked)
    for (name, rows), answer in zip(asked, answers, strict=True):
        words = answer.split()
        if name != "mfn_valid":
            refused = [i for i, row in enumerate(rows) if not row[2]]
            assert int(words.pop()) == (refused[0] if refused else len(rows)), name
        assert [int(word, 16) for word in words] == [int(y, 16) for _, y, _ in rows], name


def pyx_text():
    lines = ["cimport xenmm", "from libc.stdint cimport uint64_t", ""]
    lines += ["", "def answer(capsule, list asked):"]
    lines += ["    cdef const xenmm.xenmm_params *p = xenmm.xenmm_params_of(capsule)"]
    lines += ["    cdef uint64_t x, generic, by_mode", "    answers = []", "    for conversion, x in asked:"]
    lines += ["        generic = by_mode = 0"]
    for number, name in enumerate(FUNCTIONS):
        generic = f"xenmm.{name}(p, x)"
        if name == "page_to_mfn_to_virt":
            generic = "xenmm.mfn_to_virt(p, xenmm.page_to_mfn(p, x))"
        lines += [f"        if conversion == {number}:", f"            generic = by_mode = {generic}"]
        if name in GENERIC_ONLY:
            continue
        for mode, label in enumerate(("none", "mask", "offset")):
            lines += [
                f"            if p.mode == {mode}:",
                f"                by_mode = xenmm.{label}_{name}(p, x)",
            ]
    lines += ["        answers.append((generic, by_mode))", "    return answers", ""]
    return "\n".join(lines)


@needs_cc
def test_cython_text_reproduces_the_vectors(tmp_path):
    pytest.importorskip("Cython")
    source = tmp_path / "face.pyx"
    source.write_text(pyx_text())
    cython = [sys.executable, "-m", "cython", "-3", f"-I{ROOT.parent}", str(source)]
    subprocess.run(cython, check=True, capture_output=True, text=True)
    python = sysconfig.get_paths()["include"]
    # Nothing of xenmm is linked, and no include folder of it is needed.
    flags = ["-shared", "-fPIC", "-O1", "-w", f"-I{python}", str(tmp_path / "face.c"), "-o"]
    subprocess.run([CC, *flags, str(tmp_path / "face.so")], check=True, capture_output=True, text=True)
    program = (
        "import importlib.util, json, sys\n"
        "from hosts import make_host\n"
        "spec = importlib.util.spec_from_file_location('face', sys.argv[1])\n"
        "before = set(sys.modules)\n"
        "face = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(face)\n"
        "assert not {m for m in set(sys.modules) - before if 'xenmm' in m}\n"
        "for entry in json.load(sys.stdin):\n"
        "    params = entry['params']\n"
        "    params['pdx_group_valid'] = bytes.fromhex(params['pdx_group_valid'])\n"
        "    asked = [tuple(pair) for pair in entry['asked']]\n"
        "    print(json.dumps(face.answer(make_host(params).capsule, asked)))\n"
    )
    sets = [{"params": entry["params"], "asked": []} for entry in recorded().values()]
    expected = [[] for _ in sets]
    for which, conversion, _name, x, y, _good in questions():
        sets[which]["asked"].append((conversion, x))
        expected[which].append([y, y])
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "face.so")],
        input=json.dumps(sets),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert [json.loads(line) for line in result.stdout.splitlines()] == expected


@needs_cc
def test_header_is_quiet_alone_and_twice(tmp_path):
    source = tmp_path / "alone.c"
    source.write_text('#include "xenmm.h"\n#include "xenmm.h"\nint main(void) { return 0; }\n')
    for compiler, standard, language in ((CC, "-std=c99", "c"), (CXX, "-std=c++11", "c++")):
        if compiler is None:
            continue
        command = [compiler, standard, "-x", language, *QUIET, f"-I{INCLUDE}", "-c", str(source)]
        subprocess.run(
            [*command, "-o", str(tmp_path / "alone.o")], check=True, capture_output=True, text=True
        )


@needs_cc
@needs_source
@pytest.mark.parametrize("digits", [[], ["-DCPYTHON_DIGITS_OFF"]], ids=["digits", "calls"])
def test_integers_are_taken_alike_with_and_without_their_digits(tmp_path, digits):
    source, library = tmp_path / "take.c", tmp_path / "take.so"
    source.write_text(
        '#include "_integers.h"\n'
        "int take(PyObject *o, uint64_t *value) { return xenmm_int_as_u64(o, value); }\n"
    )
    folders = [f"-I{ROOT}", f"-I{sysconfig.get_paths()['include']}"]
    subprocess.run(
        [CC, "-shared", "-fPIC", "-O1", *digits, *folders, str(source), "-o", str(library)], check=True
    )
    take = ctypes.PyDLL(library).take
    take.argtypes = [ctypes.py_object, ctypes.POINTER(ctypes.c_uint64)]
    edges = [(1 << bits) + step for bits in range(130) for step in (-1, 0, 1)]
    for x in [*edges, *(-x for x in edges), True, 1.0, "1"]:
        value = ctypes.c_uint64(5)
        fits = type(x) is int and 0 <= x < U64
        # An exception that it left behind would be raised here.
        assert take(x, value) == fits, x
        if fits:
            assert value.value == x
