#!/usr/bin/env python3
"""Put the text of the committed record into docs/benchmarks.md, between its two marks.

python benchmarks/update_docs.py
"""

import json
import re
from pathlib import Path

from xenmm.studies.bench_cli import render

TREE = Path(__file__).parents[1]
RECORD = TREE / "benchmarks" / "records" / "conversions.json"
DOCS = TREE / "docs" / "benchmarks.md"
MARKED = re.compile(r"(<!-- record -->\n```\n).*?(```\n<!-- end of record -->)", re.DOTALL)


def updated(page: str) -> str:
    """The page with the record's text between the marks."""
    text = render(json.loads(RECORD.read_text()))
    return MARKED.sub(lambda found: found[1] + text + found[2], page)


if __name__ == "__main__":
    DOCS.write_text(updated(DOCS.read_text()))
