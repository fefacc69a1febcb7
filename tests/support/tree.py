"""The tree: its source, which is not there where the wheel alone is tested, and copies of it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from records import ROOT

SOURCE = ROOT / "xenmm"
needs_source = pytest.mark.skipif(not SOURCE.is_dir(), reason="the wheel alone is tested, without its source")


def copy_tree(folder):
    """Copy every file that git has, or would have, with its mode and time."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(listed, capture_output=True, check=True).stdout.split(b"\0")):
        path = Path(os.fsdecode(name))
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
