"""The frozen C header: quiet, foldable, honest about its origin, and alone in its names."""

import re
import shutil
import subprocess

import pytest
from embeddings import CC, CXX, QUIET, ROOT, run
from hosts import assorted_params, domain_edges, make_host

import xenmm
from xenmm.embed import export, stale
from xenmm.errors import ConfigError, FrameError

GIB = 1 << 30
NODES = [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)]
#: Masks need RAM that starts at 4 GiB: the mask is filled up to the first range's base above it.
MASK_NODES = [(0, 2 * GIB), (4 * GIB, 8 * GIB), (1024 * GIB, 1028 * GIB)]
MAP = xenmm.MemoryMap.from_ranges(NODES, NODES, name="two nodes")
MASKED = xenmm.MemoryMap.from_ranges(MASK_NODES, MASK_NODES, name="masked")

needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler")
needs_objdump = pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump")


def booted(profile, nodes=NODES, name=None):
    return xenmm.boot(xenmm.MemoryMap.from_ranges(nodes, nodes, name=name), profile=profile)


@needs_cc
@pytest.mark.parametrize("optimise", ["-O0", "-O2", "-O3"])
@pytest.mark.parametrize("profile", ["xen-offset", "xen-mask", "xen-none", "fold", "pre"])
def test_header_is_quiet_and_its_assertions_hold(tmp_path, profile, optimise):
    source = tmp_path / "alone.c"
    source.write_text('#include "alone.h"\n#include "alone.h"\nint main(void) { return 0; }\n')
    (tmp_path / "alone.h").write_text(booted(profile).export("c"))
    run(CC, "-std=c99", optimise, *QUIET, source, "-o", tmp_path / "alone.o")
    if CXX:
        run(CXX, "-std=c++11", "-x", "c++", optimise, *QUIET, source, "-o", tmp_path / "alone.o")


@needs_cc
@pytest.mark.parametrize("compiler, standard, language", [(CC, "-std=c99", "c"), (CXX, "-std=c++11", "c++")])
def test_two_machines_and_the_generic_header_live_in_one_program(tmp_path, compiler, standard, language):
    if compiler is None:
        pytest.skip(f"no {language} compiler")
    for prefix, profile in (("one", "xen-offset"), ("two", "xen-none")):
        (tmp_path / f"{prefix}.h").write_text(booted(profile).export("c", prefix=prefix))
    source = tmp_path / "both.c"
    source.write_text(
        '#include "one.h"\n#include "xenmm.h"\n#include "two.h"\n'
        "int main(void) { return one_mfn_to_pdx(0x10000000) == two_mfn_to_pdx(0x10000000); }\n"
    )
    flags = [standard, "-x", language, *QUIET, f"-I{ROOT / 'include'}", f"-I{tmp_path}"]
    run(compiler, *flags, source, "-o", tmp_path / "both")
    assert subprocess.run([tmp_path / "both"], check=False).returncode == 0


def test_every_name_of_the_header_has_the_prefix():
    # Comments may speak of the generic header; code may not.
    header = re.sub(r"/\*.*?\*/", "", booted("xen-offset").export("c", prefix="server"), flags=re.DOTALL)
    assert not re.search(r"xenmm", header, re.IGNORECASE)
    defined = re.findall(
        r"#define (\w+)|^(?:static inline|static const) .*?\b(\w+)(?=[(\[ ]*[({=\[])", header, re.M
    )
    names = {a or b for a, b in defined}
    assert len(names) > 80
    assert all(n.startswith(("server_", "SERVER_")) for n in names), names


@needs_cc
@needs_objdump
@pytest.mark.parametrize(
    "profile, nodes, loads",
    [("xen-none", NODES, 0), ("xen-mask", MASK_NODES, 0), ("xen-offset", NODES, 1)],
)
def test_compiler_folds_the_constants(tmp_path, profile, nodes, loads):
    host = booted(profile, nodes)
    assert host.compression.kind == profile.removeprefix("xen-")
    (tmp_path / "machine_mm.h").write_text(host.export("c"))
    source, built = tmp_path / "fold.c", tmp_path / "fold.o"
    names = ("mfn_to_page", "page_to_mfn", "mfn_to_virt", "virt_to_mfn", "page_to_virt")
    source.write_text(
        '#include "machine_mm.h"\n'
        + "".join(f"uint64_t f_{n}(uint64_t x) {{ return machine_{n}(x); }}\n" for n in names)
    )
    run(CC, "-std=c99", "-O2", "-c", source, "-o", built)
    listing = run("objdump", "-d", "--no-show-raw-insn", built)
    bodies = dict(re.findall(r"<f_(\w+)>:\n(.*?)\n(?:\n|\Z)", listing, re.DOTALL))
    assert set(bodies) == set(names)
    for name, body in bodies.items():
        # A load has a memory operand; lea only computes an address, and the padding after ret is no load.
        code = [line for line in body.partition("ret")[0].splitlines() if not re.search(r"\blea\b|nop", line)]
        found = [line for line in code if re.search(r"\(%|\[r", line)]
        assert len(found) == (0 if name == "page_to_virt" else loads), (name, body)
        assert not any(re.search(r"\b(call|cmp|j\w+)\b", line) for line in code), (name, body)


def test_constants_of_the_header_are_the_hosts():
    own = [xenmm.OwnParameter("trap_cycles", "cycles", "a simulator's own", 77)]
    for profile, memory_map in (("xen-offset", MAP), ("xen-mask", MASKED), ("pre", MAP)):
        host = xenmm.boot(memory_map, profile, parameters=own)
        text = host.export("c", prefix="m")
        constants = {n: int(v, 16) for n, v in re.findall(r"#define M_(\w+) UINT64_C\((\w+)\)", text)}
        assert constants.pop("OWN_TRAP_CYCLES") == 77
        assert (constants.pop("PAGE_SIZE"), constants.pop("PAGE_INFO_BYTES")) == (4096, 32)
        assert constants.pop("PDX_GROUP_COUNT") == -(-host.max_pdx // 65536)
        assert set(constants) == {
            "MAX_PAGE", "MAX_PDX", "DIRECTMAP_VIRT_START", "DIRECTMAP_VIRT_END", "FRAMETABLE_VIRT_START",
            "FRAMETABLE_VIRT_END",
        }  # fmt: skip
        assert constants == {name: host.params[name.lower()] for name in constants}


def test_stale_header_is_detected_by_its_hash():
    host, other = xenmm.boot(MAP, "xen-offset"), xenmm.boot(MAP, "xen-none")
    own = xenmm.boot(MAP, "xen-offset", parameters=[xenmm.OwnParameter("a", "x", "y", 1)])
    changed = xenmm.boot(MAP, "xen-offset", parameters=[xenmm.OwnParameter("a", "x", "y", 2)])
    for form in ("c", "json"):
        text = host.export(form)
        assert stale(host, text) == ""
        assert "made for other boot parameters: params_sha256" in stale(other, text)
        assert "export it again" in stale(own, text)
        assert stale(own, own.export(form)) == ""
        assert stale(changed, own.export(form))
    assert "no export" in stale(host, "int main(void);")


def test_header_names_its_origin_and_the_maps_hash():
    host = booted("xen-offset", name="a server")
    head = host.export("c").partition("#ifndef")[0]
    assert host.memory_map.sha256 in head
    assert "a server" in head and "xen-offset" in head and xenmm.__version__ in head
    other = booted("xen-offset", [(0, 2 * GIB), (1024 * GIB, 1027 * GIB)], name="a server").export("c")
    assert head != other.partition("#ifndef")[0]


@needs_cc
@pytest.mark.parametrize("name", ["*/ int x; /*", "trailing \\", "two\nlines", "caf\u00e9 \u202e", "??/"])
def test_machine_name_stays_in_its_comment(tmp_path, name):
    source = tmp_path / "named.c"
    source.write_text(booted("xen-none", name=name).export("c") + "int main(void) { return 0; }\n")
    run(CC, "-std=c99", *QUIET, "-Wcomment", "-trigraphs", source, "-o", tmp_path / "named")


@pytest.mark.parametrize("prefix", ["", "1st", "a-b", "xenmm", "XENMM_x", "a b", "é", "a\n"])
def test_prefix_that_is_no_name_is_refused(prefix):
    with pytest.raises(ConfigError, match="prefix"):
        booted("xen-none").export("c", prefix=prefix)


def test_unknown_format_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"'fortran' is not one of .*c, numba, v2p, json"):
        booted("xen-none").export("fortran")
    with pytest.raises(ConfigError, match="'fortran'"):
        export(booted("xen-none"), "fortran")


#: What the Python methods say for each error code of the header.
WORDS = {
    "MAX_PAGE": "is not below max_page",
    "HOLE": r"inside the hole|outside the region|outside every region",
    "GROUP": "is not backed",
    "MAX_PDX": "is not below max_pdx",
    "FRAMETABLE": "is outside the frame table",
    "RECORD": "is not the start of a page_info record",
    "DIRECTMAP": "is outside the direct map|past the direct map",
}

CHECKED = """
#include <inttypes.h>
#include <stdio.h>
#include "machine_mm.h"
int main(void)
{
    unsigned which;
    uint64_t x, y;
    machine_err error;
    while (scanf("%u %" SCNx64, &which, &x) == 2) {
        y = 0x5a5a;
        switch (which) {
CASES
        default: return 1;
        }
        printf("%d %" PRIx64 " %s\\n", (int)error, y, machine_strerror(error));
    }
    return 0;
}
"""


@needs_cc
@pytest.mark.parametrize("which", ["none-image", "mask-9-bits-image", "offset-16-image", "offset-slots"])
def test_error_codes_are_the_python_refusals_one_for_one(tmp_path, which):
    from xenmm.embed.c_header import CONVERSIONS

    params = assorted_params()[which]
    host = make_host(params)
    (tmp_path / "machine_mm.h").write_text(export(host, "c"))
    codes = re.findall(r"^    XENMM_ERR_(\w+)", (ROOT / "include" / "xenmm.h").read_text(), re.M)
    assert codes == list(WORDS)
    calls = [
        f"case {n}: error = machine_{c}_checked(x, &y); break;" for n, (c, _, _) in enumerate(CONVERSIONS)
    ]
    (tmp_path / "checked.c").write_text(CHECKED.replace("CASES", "\n".join(calls)))
    run(CC, "-std=c99", "-O1", *QUIET, tmp_path / "checked.c", "-o", tmp_path / "checked")
    asked = [(n, c, x) for n, (c, _, _) in enumerate(CONVERSIONS) for x in domain_edges(params, c)]
    printed = run(tmp_path / "checked", input="".join(f"{n} {x:x}\n" for n, _, x in asked)).splitlines()
    seen = set()
    for (_, conversion, x), line in zip(asked, printed, strict=True):
        error, y, words = line.split(" ", 2)
        try:
            expected = getattr(host, conversion)(x)
        except FrameError as refusal:
            code = codes[int(error) - 1] if int(error) else "none"
            assert code in WORDS and re.search(WORDS[code], str(refusal)), (conversion, hex(x), line, refusal)
            assert y == "5a5a" and words != "unknown error"
            seen.add(code)
        else:
            assert (int(error), int(y, 16)) == (0, expected), (conversion, hex(x))
    possible = set(WORDS) - ({"HOLE"} if params["pdx_compression"] == "none" else set())
    assert seen == possible, (which, possible - seen)
