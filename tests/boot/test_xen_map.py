"""docs/xen-map.md names functions and tests that exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROWS = [
    line for line in (ROOT / "docs" / "xen-map.md").read_text().splitlines() if line.startswith("| `boot.")
]


def resolve(name):
    """The object of a dotted name under xenmm, or an error."""
    parts = name.split(".")
    found = import_module(f"xenmm.{'.'.join(parts[:2])}")
    for part in parts[2:]:
        found = getattr(found, part)
    return found


def test_every_function_of_the_map_exists():
    assert len(ROWS) > 15
    for row in ROWS:
        names = re.findall(r"`([\w.]+)`", row.split("|")[1])
        module = names[0].split(".")[:2]
        for name in names:
            assert resolve(name if name.startswith("boot.") else ".".join([*module, name]))


def test_every_test_of_the_map_exists():
    for row in ROWS:
        tests = re.findall(r"`(test_\w+\.py)`", row.split("|")[3])
        assert tests
        assert all((ROOT / "tests" / "boot" / name).exists() for name in tests)
