"""The texts that the HTML renderer puts in: style and script, beside the modules that draw."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def asset(name: str) -> str:
    """The text of a file of ``xenmm/report/page``."""
    return (files("xenmm.report.page") / name).read_text(encoding="utf-8")
