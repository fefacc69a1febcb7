"""docs/timing.md: its Python runs, its TOML is read, its tables are the package's."""

import re
from pathlib import Path

from xenmm.timing import Hierarchy
from xenmm.timing.replay import RULES
from xenmm.timing.workloads import WORKLOADS

TEXT = (Path(__file__).parents[2] / "docs" / "timing.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def test_the_python_runs(capsys):
    for block in blocks("python"):
        if ">>> " in block:
            # A doctest, which test_docs_figures runs.
            continue
        exec(compile(block, "docs/timing.md", "exec"), {})
    misses, first, second = re.match(r"(\d+) (\(.*?\)) (\d+)\n\d+\n", capsys.readouterr().out).groups()
    assert misses == str((1 << 20) // 64)
    assert first == f"(0, {(1 << 20) // 4096})"
    assert int(second) > 0


def test_the_toml_is_read():
    (text,) = blocks("toml")
    assert Hierarchy.from_toml(text).caches[1].sets == 2048


def test_every_interpretation_and_workload_is_listed():
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M)) == set(RULES)
    assert all(f"`{name}`" in TEXT for name in WORKLOADS)
