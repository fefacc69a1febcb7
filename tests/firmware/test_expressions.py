"""C expressions: against Python's own arithmetic on the operators that both share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenmm.firmware.expressions import ExpressionError, evaluate

MASK = (1 << 64) - 1
numbers = st.integers(0, 1 << 33).map(str)


@given(
    st.recursive(
        numbers,
        lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "&", "|", "^"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        max_leaves=12,
    )
)
def test_ring_operators_are_pythons_modulo_two_to_the_64(text: str) -> None:
    assert evaluate(text) == eval(text) & MASK


@given(st.lists(numbers, min_size=2, max_size=6), st.data())
def test_precedence_without_parentheses_is_pythons(terms: list[str], data: st.DataObject) -> None:
    text = terms[0]
    for term in terms[1:]:
        text += data.draw(st.sampled_from([" + ", " - ", " * ", " & ", " | ", " ^ "])) + term
    assert evaluate(text) == eval(text) & MASK


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 << 4 >> 2", 4),
        ("1 << 64", 0),
        ("7 / 2 * 2 + 7 % 2", 7),
        ("1 == 1 && 2 != 3 || 0", 1),
        ("1 < 2 ? 3 : 4 ? 5 : 6", 3),
        ("0 ? 1 : 0 ? 2 : 3", 3),
        ("-1", MASK),
        ("~0 >> 63", 1),
        ("!5 + !0", 1),
        ("'A'", 65),
        ("'\\n'", 10),
        ("010 + 0x10 + 10UL", 34),
        ("(((1)))", 1),
    ],
)
def test_values(text: str, value: int) -> None:
    assert evaluate(text) == value


def test_character_escapes_are_cs() -> None:
    for letter, value in zip("abfnrtv0\\'", b"\a\b\f\n\r\t\v\0\\'", strict=True):
        assert evaluate(f"'\\{letter}'") == value, letter


@pytest.mark.parametrize(
    "text", ["", "1 +", "(1", "1)", "1 2", "A", "09", "1 / 0", "1 % 0", "$", "1 ? 2", "0x"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text)


@pytest.mark.parametrize(("depth", "fits"), [(59, True), (60, True), (61, False)])
def test_sixty_parentheses_are_the_limit(depth: int, fits: bool) -> None:
    text = "(" * depth + "7" + ")" * depth
    if fits:
        assert evaluate(text) == 7
    else:
        with pytest.raises(ExpressionError, match="nested too deeply"):
            evaluate(text)


@pytest.mark.parametrize(
    "text", ["(" * 200 + "1" + ")" * 200, "-" * 500 + "1", "1 ? " * 300 + "1" + ": 0" * 300]
)
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="deep"):
        evaluate(text)
