"""A comparison as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..boot.frozen import value_text
from ..report.layout import heading, percent, printable, sections, size, span, table, wrap
from .compare import Comparison
from .compare_maps import Change, Item
from .compare_results import Difference

_HOW: Final = {"removed": "-", "added": "+", "moved": ">", "resized": "~", "changed": "~"}
_WORDS: Final = {"ram": "RAM", "srat": "SRAT"}
#: Figures that are shown as they are; others whose names end in bytes are sizes.
_PLAIN: Final = ("top",)


def lines(found: Comparison, width: int = 80) -> list[str]:
    """Set a comparison: what each side is, then what differs, part by part."""
    head = [*wrap(printable(found.a), width, "a  ", "   "), *wrap(printable(found.b), width, "b  ", "   ")]
    if found.same:
        return [*head, "", "nothing differs"]
    if found.kind == "results":
        return [*head, "", *_differences(found.figures, width)]
    return sections(
        (
            head,
            _ranges(found.changes, width),
            _figures(found.figures, width),
            _parameters(found.parameters, width),
            _hazards(found, width),
        )
    )


def _ranges(changes: Sequence[Change], width: int) -> list[str]:
    if not changes:
        return []
    out = heading("Ranges")
    for change in changes:
        out += wrap(_range(change), width, f"  {_HOW[change.how]} ", "      ")
    return out


def _range(change: Change) -> str:
    what = _WORDS.get(change.what, change.what)
    if change.a is None or change.b is None:
        item = change.a or change.b
        assert item is not None
        return f"{what} {_item(item)}, {size(item[1] - item[0])}, {change.how}"
    text = f"{what} {_item(change.a)} -> {_item(change.b)}, "
    sizes = [item[1] - item[0] for item in (change.a, change.b)]
    if change.how == "moved":
        by = change.b[0] - change.a[0]
        return text + f"{size(sizes[0])} moved {'up' if by > 0 else 'down'} by {size(abs(by))}"
    if change.how == "resized":
        return text + f"{_signed_size(sizes[1] - sizes[0])}"
    return text + "another node or other flags"


def _item(item: Item) -> str:
    node = f" node {item[2][0]} flags {item[2][1]}" if item[2] else ""
    return span(item[0], item[1]) + node


def _figures(figures: Sequence[Difference], width: int) -> list[str]:
    if not figures:
        return []
    texts = [f for f in figures if isinstance(f.a, str) or isinstance(f.b, str)]
    rows = [("", "a", "b", "change")]
    for f in figures:
        if f not in texts:
            rows.append((_label(f.path), _figure(f.path, f.a), _figure(f.path, f.b), _change(f)))
    out = heading("Figures")
    if len(rows) > 1:
        out += table(rows, indent="  ")
    for f in texts:
        out += wrap(f"{_label(f.path)}: {f.a} -> {f.b}", width, "  ", "    ")
    return out


def _label(path: str) -> str:
    return path.removesuffix("_bytes").removesuffix("_percent").replace("_", " ") + (
        ", % of RAM" if path.endswith("_percent") else ""
    )


def _figure(path: str, value: Any) -> str:
    if value is None:
        return "none"
    if path in _PLAIN:
        return f"{value:#x}"
    if path.endswith("_bytes"):
        return size(value)
    return percent(value) if path.endswith("_percent") else f"{value:,}"


def _change(f: Difference) -> str:
    if f.a is None or f.b is None or f.path in _PLAIN:
        return "" if f.path not in _PLAIN else _signed_size(f.b - f.a)
    by = f.b - f.a
    if f.path.endswith("_percent"):
        return f"{by:+.3f}"
    return _signed_size(by) if f.path.endswith("_bytes") else f"{by:+,}"


def _signed_size(by: int) -> str:
    return f"{'+' if by >= 0 else '-'}{size(abs(by))}"


def _parameters(parameters: Sequence[Difference], width: int) -> list[str]:
    if not parameters:
        return []
    out = heading("Frozen parameters")
    for p in parameters:
        a, b = (_parameter(p.path, value) for value in (p.a, p.b))
        out += wrap(f"{p.path}: {a} -> {b}", width, "  ", "    ")
    return out


def _parameter(name: str, value: Any) -> str:
    # As a host shows them; a bitmap is hexadecimal text here.
    if name == "pdx_group_valid" and value is not None:
        return value_text(name, bytes.fromhex(value))
    return value_text(name, tuple(value) if isinstance(value, list) else value)


def _hazards(found: Comparison, width: int) -> list[str]:
    if not found.hazards:
        return []
    out = heading("Hazards")
    for a, b in found.hazards:
        if a is not None:
            out += wrap(f"{a.severity}: {a.text}", width, "  - ", "      ")
        if b is not None:
            out += wrap(f"{b.severity}: {b.text}", width, "  + ", "      ")
    return out


def _differences(figures: Sequence[Difference], width: int) -> list[str]:
    numbers = [f for f in figures if f.relative is not None or (_number(f.a) and _number(f.b))]
    rows = [("value", "a", "b", "change")]
    rows += [(printable(f.path), _text(f.a), _text(f.b), _relative(f)) for f in numbers]
    out = table(rows) if numbers else []
    others = []
    for f in figures:
        if f not in numbers:
            a = "not there" if f.only == "b" else _text(f.a)
            b = "not there" if f.only == "a" else _text(f.b)
            others += wrap(printable(f"{f.path}: {a} -> {b}"), width, "", "    ")
    return sections((out, others))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if _number(value):
        return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _relative(f: Difference) -> str:
    if f.relative is None:
        return ""
    # A figure a hundred times as large is not told in percent.
    return f"{100 * f.relative:+,.2f}%" if abs(f.relative) < 100 else f"x{f.b / f.a:,.4g}"
