"""Build the sdist again, elsewhere and otherwise, and compare; a wheel too if asked.

Usage: python tests/support/build_again.py DIST_FOLDER [--wheel]   (from the root of the tree)

Other is what differs between two computers: folder, times of the files, umask, time zone, locale, width of
the terminal. The same must be every byte.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

from build_dist import build_sdist, build_wheel, epoch
from pythons import found
from tree import copy_tree

#: 2001-09-09: no file of the tree is so old.
_OTHER_TIME = 1_000_000_000


def differently(folder: pathlib.Path) -> None:
    """Make the rest of this process build in a copy of the tree, in surroundings of another computer."""
    time = epoch()
    copy_tree(folder)
    for path in folder.rglob("*"):
        os.utime(path, (_OTHER_TIME, _OTHER_TIME))
    os.chdir(folder)
    os.umask(0o077)
    os.environ |= {
        "SOURCE_DATE_EPOCH": str(time),
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "COLUMNS": "40",
    }


def first_difference(one: bytes, two: bytes) -> int:
    """Where two contents begin to differ."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(two)))


def compare(made: pathlib.Path, dist: pathlib.Path) -> None:
    """End with a line and status 1 when an archive has other bytes than that of its name in the folder."""
    before, again = (dist / made.name).read_bytes(), made.read_bytes()
    if before != again:
        at = first_difference(before, again)
        sys.exit(f"build_again: {made.name} differs from byte {at}: {len(before)} and {len(again)} bytes")
    print(f"{made.name}: built again elsewhere, the same {len(again):,} bytes")


def main() -> None:
    """Build again, and compare with what lies in the folder."""
    dist = pathlib.Path(sys.argv[1]).resolve()
    python = pathlib.Path(os.path.abspath(next(iter(found().values()))))
    with tempfile.TemporaryDirectory(prefix="an other place ") as scratch:
        folder = pathlib.Path(scratch, "deeper", "xenmm")
        folder.mkdir(parents=True)
        second = pathlib.Path(scratch, "dist")
        second.mkdir()
        differently(folder)
        sdist = build_sdist(second)
        compare(sdist, dist)
        if "--wheel" in sys.argv[2:]:
            compare(build_wheel(python, sdist, second), dist)


if __name__ == "__main__":
    main()
