"""A copy of the tree: what git has of it, and what it would have."""

import os
import shutil
import subprocess
from pathlib import Path

from records import ROOT


def copy_tree(folder):
    """Copy every file that git has, or would have, with its mode and time."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.run(listed, capture_output=True, check=True).stdout.split(b"\0")):
        path = Path(os.fsdecode(name))
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
