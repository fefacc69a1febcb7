#!/usr/bin/env python3
"""Put the committed record's text into docs/benchmarks.md, between its two marks, and its bytes of code into
the package, where ``xenmm steps`` finds them.

python benchmarks/update_docs.py
"""

import json
import re
import sys
from pathlib import Path

from xenmm.studies.bench_cli import render

TREE = Path(__file__).parents[1]
RECORD = TREE / "benchmarks" / "records" / "conversions.json"
DOCS = TREE / "docs" / "benchmarks.md"
README = TREE / "README.md"
FIGURE = re.compile(r"([\d.]+)( <!-- figure: ((?:of_memcpy|of_floor|code_bytes)\(.*?\)) -->)")
CODE_BYTES = TREE / "xenmm" / "studies" / "committed_code_bytes.json"
MARKED = re.compile(r"(<!-- record -->\n```\n).*?(```\n<!-- end of record -->)", re.DOTALL)


def updated(page: str) -> str:
    """The page with the record's text between the marks."""
    text = render(json.loads(RECORD.read_text()))
    return MARKED.sub(lambda found: found[1] + text + found[2], page)


def code_bytes() -> str:
    """Where the record was made, and its bytes of code by compression and way, in the record's own form."""
    record = json.loads(RECORD.read_text())
    keys = ("compression", "calls", "way", "code_bytes")
    rows = [{key: row[key] for key in keys} for row in record["freezing"]]
    kept = {key: record[key] for key in ("schema", "xenmm", "commit", "cpu", "compiler")}
    return json.dumps({**kept, "freezing": rows}, indent=1) + "\n"


def with_figures(page: str) -> str:
    """The page with every figure that has a comment as the record has it, its decimals kept."""
    sys.path.insert(0, str(TREE / "tests" / "support"))
    from conversion_figures import NAMES

    def figure(found: re.Match[str]) -> str:
        value = eval(found[3], {"__builtins__": {}}, NAMES)
        return f"{value:.{len(found[1].partition('.')[2])}f}{found[2]}"

    return FIGURE.sub(figure, page)


if __name__ == "__main__":
    README.write_text(with_figures(README.read_text()))
    DOCS.write_text(updated(DOCS.read_text()))
    CODE_BYTES.write_text(code_bytes())
