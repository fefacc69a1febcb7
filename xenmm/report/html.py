"""The report as HTML: one self-contained page, and fragments for notebooks; the same renderer for both.

The page holds everything that it needs: drawings as SVG, CSS, a script of our own, the facts as JSON. Its
content policy allows this one script by its hash and nothing from a network. The same input gives the same
bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Set
from typing import Final

from .assets import asset
from .overhead import Report
from .page import facts, sections
from .page.markup import Markup, element
from .page.paint import Paint

_LINKS: Final = (
    ("hazards", "Hazards"),
    ("space", "Address space"),
    ("convert-section", "Convert"),
    ("squeezed", "Bits"),
    ("virtual", "Virtual layout"),
    ("cost", "Cost"),
    ("linux", "Linux"),
)


def report_page(report: Report) -> str:
    """Set a report as one HTML page.

    Parameters
    ----------
    report : Report
        Of :func:`xenmm.report.overhead.make_report`.

    Returns
    -------
    str
        The page, without any reference to another file or to a network; the same report gives the same text.
    """
    m = report.memory_map
    paint = Paint(m, "node")
    tracks = sections.track_hosts(report)
    chosen = _chosen(report)
    told = facts.script_json(facts.page_facts(report, tracks, paint))
    script = "\n".join(asset(name) for name in ("convert.js", "explore.js", "page.js"))
    linux = sections.linux(report)
    main = element(
        "main",
        sections.hazards(report),
        sections.space(report, paint, tracks),
        sections.converter(report, chosen),
        sections.squeezed(report),
        sections.virtual(report, chosen),
        sections.cost(report),
        linux,
        sections.reading(report),
        id="main",
    )
    body = element(
        "body",
        element("a", "To the content", href="#main", class_="skip"),
        sections.head(report),
        _navigation(report, chosen, {"linux"} if not linux else set()),
        main,
        sections.foot(report),
        element("script", Markup(told), type="application/json", id="facts"),
        element("script", Markup(script)),
        class_="xenmm page",
    )
    return f"<!DOCTYPE html>\n{element('html', _head(report, script), body, lang='en')}\n"


def _chosen(report: Report) -> int:
    names = [host.profile.name for host in report.hosts]
    return names.index("xen-offset") if "xen-offset" in names else len(names) - 1


def _navigation(report: Report, chosen: int, absent: Set[str]) -> Markup:
    links = [element("a", word, href=f"#{name}") for name, word in _LINKS if name not in absent]
    choice = element(
        "label", "profile ", sections.profile_select(report, chosen, "profile"), class_="control"
    )
    return element("nav", element("div", *links, choice), class_="top", aria_label="sections")


def _head(report: Report, script: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    name = report.memory_map.name or report.input.name
    style = Markup(asset("style.css") + asset("page.css"))
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{name}: memory under Xen"),
        element("style", style),
    )
