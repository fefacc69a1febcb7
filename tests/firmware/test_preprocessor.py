"""The preprocessor: against the C preprocessor itself on what both know, line by line."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenmm.firmware.preprocessor import Preprocessor

LINES = st.sampled_from(
    [
        *("#define A 1", "#define A B", "#define B (A + 2)", "#undef A", "#define C \\", "#define LONG 1 \\"),
        *("#if 0", "#if A", "#if 2 > 1", "#ifdef A", "#ifndef A", "#elif 1", "#else", "#endif", "#endif"),
        *("A B C", "a /* b", "c */ d", "e // A", '"A /* // B"', "x A y", "#address-cells = <A>;", ""),
    ]
)


def run(text: str) -> list[str]:
    return Preprocessor().run(text).split("\n")


def test_lines_keep_their_place() -> None:
    text = 'a /* 1\n2\n3 */ b\n#define X 1\nX // c\n# 7 "board.dts" 2\n\'X\' "X"\n#address-cells'
    assert run(text) == ["a     ", " ", "     b", "", "1     ", "", "'1' \"X\"", "#address-cells"]


@pytest.mark.parametrize(
    ("condition", "chosen"),
    [("#if 1", "yes"), ("#if 0", "no"), ("#ifdef A", "yes"), ("#ifndef A", "no"), ("#if A == 7", "yes")],
)
def test_conditions_choose(condition: str, chosen: str) -> None:
    assert "".join(run(f"#define A 7\n{condition}\nyes\n#else\nno\n#endif")) == chosen


def test_a_branch_inside_one_that_is_not_read_is_not_read() -> None:
    first = "#if 0\n#if 1\na\n#else\nb\n#endif\n"
    second = "#elif 1\n#if 0\nc\n#elif 1\nd\n#else\ne\n#endif\n"
    assert "".join(run(first + second + "#else\nf\n#endif\ng")) == "dg"


def test_includes_are_named() -> None:
    preprocessor = Preprocessor()
    preprocessor.run('#include "a.dtsi"\n#if 0\n#include "b.dtsi"\n#endif\n # include <c.h>')
    assert preprocessor.includes == ['#include "a.dtsi"', "#include <c.h>"]


def test_a_condition_that_is_not_understood_is_told() -> None:
    preprocessor = Preprocessor()
    assert preprocessor.run("\n#if F(1)\na\n#endif\nb").split("\n")[2:] == ["", "", "b"]
    assert preprocessor.doubts[0][0] == 1


@pytest.mark.skipif(shutil.which("cpp") is None, reason="cpp is not installed")
@settings(max_examples=40)
@given(st.lists(LINES, max_size=14))
def test_what_cpp_leaves_is_left(lines: list[str]) -> None:
    # Where cpp complains, of what is not closed or of a name without value, nothing is compared.
    text = "\n".join(lines) + "\n"
    command = ["cpp", "-undef", "-nostdinc", "-x", "assembler-with-cpp", "-P", "-w", "-"]
    theirs = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    preprocessor = Preprocessor()
    ours = preprocessor.run(text)
    recursive = "#define A B" in lines and "#define B (A + 2)" in lines
    if theirs.returncode or preprocessor.doubts or recursive or "\\" in text:
        return
    assert "".join(ours.split()) == "".join(theirs.stdout.split())


@given(st.lists(LINES | st.text(max_size=20), max_size=20))
def test_any_text_keeps_its_number_of_lines(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert Preprocessor().run(text).count("\n") == text.count("\n")
