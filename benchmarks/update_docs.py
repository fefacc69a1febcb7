#!/usr/bin/env python3
"""Put the committed record's bytes of code into the package, where ``xenmm steps`` finds them, and the
records' figures into the documentation, as ``make figures`` does.

python benchmarks/update_docs.py
"""

import json
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[1]
RECORD = TREE / "benchmarks" / "records" / "conversions.json"
CODE_BYTES = TREE / "xenmm" / "studies" / "committed_code_bytes.json"


def code_bytes() -> str:
    """Where the record was made, and its bytes of code by compression and way, in the record's own form."""
    record = json.loads(RECORD.read_text())
    keys = ("compression", "calls", "way", "code_bytes")
    rows = [{key: row[key] for key in keys} for row in record["freezing"]]
    kept = {key: record[key] for key in ("schema", "xenmm", "commit", "cpu", "compiler")}
    return json.dumps({**kept, "freezing": rows}, indent=1) + "\n"


if __name__ == "__main__":
    CODE_BYTES.write_text(code_bytes())
    # A process of its own: the package reads its bytes of code once.
    subprocess.run([sys.executable, TREE / "tests" / "support" / "doc_figures.py"], check=True)
