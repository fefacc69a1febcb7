"""HTML and SVG as text: escaping, elements, coordinates. Everything that a log said passes through here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from ..layout import printable


class Markup(str):
    """Text that is HTML already; every other string is escaped where it is put in."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """The text as HTML: what is not printable made visible, markup characters as entities."""
    return text if isinstance(text, Markup) else Markup(html.escape(printable(str(text)), quote=True))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """The parts one after another, escaped unless they are HTML."""
    return Markup(between.join(escape(part) for part in parts))


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """One element; ``class_`` becomes ``class``, other underscores hyphens; None leaves an attribute out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = join(children)
    if not inside and tag in _EMPTY:
        return Markup(f"<{tag}{given}>" if tag in _VOID else f"<{tag}{given}/>")
    return Markup(f"<{tag}{given}>{inside}</{tag}>")


_VOID = frozenset(("br", "input", "meta", "col"))
_EMPTY = _VOID | frozenset(("rect", "path", "line", "circle", "use"))


def number(value: float) -> str:
    """A coordinate: two decimals at most, none where none are needed."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def rectangles(boxes: Iterable[Sequence[float]]) -> str:
    """The path data of many rectangles (x, y, width, height): one element for all of them."""
    return "".join(
        f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"
        for x, y, width, height in boxes
    )


def table(
    heads: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    left: int = 1,
    caption: object = None,
    name: str | None = None,
) -> Markup:
    """A data table: the first ``left`` columns flush left, figures flush right; the first cell heads its row.

    ``name`` is its class.
    """

    def cell(name: str, at: int, content: object, scope: str | None = None) -> Markup:
        return element(name, content, scope=scope, class_=None if at < left else "n")

    body = [
        element(
            "tr",
            *(cell("td" if i else "th", i, c, None if i else "row") for i, c in enumerate(row)),
        )
        for row in rows
    ]
    head = element("tr", *(cell("th", i, c, "col") for i, c in enumerate(heads)))
    title = element("caption", caption) if caption else ""
    return element("table", title, element("thead", head), element("tbody", join(body, "\n")), class_=name)


def scrolled(content: object, label: str) -> Markup:
    """Wide content in a box that scrolls sideways by itself, from the keyboard too."""
    return element("div", content, class_="wide", role="region", aria_label=label, tabindex="0")
