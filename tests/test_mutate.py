"""What the compiled files' mutants are: places that do something when they run, and no others."""

import ast
import re

import mutate
import pytest
from records import ROOT
from tree import needs_source

pytestmark = needs_source

CYTHON = '''
"""A docstring: 1 + 2."""
from libc.stdint cimport uint64_t  # 3 > 2
cdef uint64_t *f(uint64_t *p, int n=4) except? 0:
    return p[n - 1] // 2 if n > 0x10 and "n < 5" else <uint64_t *>p.q & x5 | 6.5
'''
C = """
/* 1 + 2 */
#include <stdint.h>
#if XK_BYTES == 64
#define AREA(a, b2) ((a) * (b2) + 7u) \\
    - (a##_unit << 8)
#endif
static uint64_t *at(const uint64_t *p) { return p->q && *p != '9' ? p++ : &p[10] / 2; } // 3
"""


def changes(text, cython):
    return [(old, new) for _, old, new in mutate.places(text, cython)]


def test_places_of_cython_are_what_runs():
    assert changes(CYTHON, True) == [
        *[("4", "5"), ("-", "+"), ("1", "2"), ("//", "*"), ("2", "3"), (">", ">="), ("0x10", "17")],
        *[("and", "or"), ("&", "|"), ("|", "&"), ("6", "7")],
    ]


def test_places_of_c_are_what_runs_and_what_macros_say():
    assert changes(C, False) == [
        *[("*", "+"), ("+", "-"), ("7u", "8u"), ("-", "+"), ("<<", ">>"), ("8", "9")],
        *[("&&", "||"), ("!=", "=="), ("10", "11"), ("/", "*"), ("2", "3")],
    ]


def test_no_two_mutants_of_a_line_bear_one_name():
    for group in mutate.GROUPS:
        names = [(row["place"], row["change"]) for row, *_ in mutate.mutants(group)]
        assert len(set(names)) == len(names) > 1000


@pytest.mark.parametrize("group", mutate.GROUPS)
def test_files_and_tests_of_a_group_are_there(group):
    for patterns, objects, stages in mutate.GROUPS[group]:
        assert all(list(ROOT.glob(pattern)) for pattern in patterns)
        assert all(list((ROOT / "xenmm").glob(f"{name}.pyx")) or name == "_kernels" for name in objects)
        assert all((ROOT / test).exists() for tests in stages for test in tests)


def test_mutants_are_built_by_the_directives_of_the_package():
    setup = (ROOT / "setup.py").read_text()
    found = re.search(r"^DIRECTIVES = (\{.*?\})", setup, re.MULTILINE | re.DOTALL)[1]
    ordinary = ast.literal_eval(
        found.replace("not DEBUG", "True").replace("DEBUG", "False").replace("TRACED", "False")
    )
    asked = dict(item.split("=") for item in mutate.DIRECTIVES.split(","))
    assert {name: str(value) for name, value in ordinary.items() if name in asked} == asked
    assert {name for name in ordinary if name not in asked} == {"language_level", "linetrace"}


def test_a_change_is_put_where_the_row_says(tmp_path):
    row, path, (before, after), *_ = next(m for m in mutate.mutants("engine") if "number 2" in m[0]["change"])
    line = int(row["place"].rpartition(":")[2]) - 1
    old, new = (text.splitlines() for text in (before, after))
    assert [i for i in range(len(old)) if old[i] != new[i]] == [line]
    assert row["text"] in old[line]
    assert (ROOT / path).read_text() == before


def test_survivors_are_found_again_each_once_where_lines_moved():
    text = "for (; n - i >= XK_BLOCK; i += XK_BLOCK) {"
    every = [
        ({"place": f"xenmm/a.h:{line}", "text": text, "change": ">= -> >"}, line) for line in (10, 50, 90)
    ]
    earlier = {
        "survivors": [{**every[1][0], "place": "xenmm/a.h:52"}, {**every[1][0], "place": "xenmm/a.h:53"}]
    }
    equal, others = mutate.again(earlier, every)
    assert equal == [] and [line for _, line in others] == [50, 90]
    assert mutate.again({"survivors": [{**every[0][0], "text": "gone"}]}, every) == ([], [])
