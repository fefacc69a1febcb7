"""The Pythons of this computer that xenmm supports: those on PATH, and those that pyenv has."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

#: Minor versions of Python 3 that wheels are made for where they are found.
MINORS = (11, 12, 13, 14)


def found() -> dict[str, pathlib.Path]:
    """The interpreter of each version that is found and runs, as ``{"3.12": path}``."""
    interpreters = {}
    for minor in MINORS:
        for candidate in _candidates(minor):
            if _version(candidate) == (3, minor):
                interpreters[f"3.{minor}"] = candidate
                break
    return interpreters


def untested() -> list[str]:
    """Versions that are not found here."""
    return [f"3.{minor}" for minor in MINORS if f"3.{minor}" not in found()]


def _candidates(minor: int) -> list[pathlib.Path]:
    if sys.version_info[:2] == (3, minor):
        return [pathlib.Path(sys.executable)]
    on_path = shutil.which(f"python3.{minor}")
    pyenv = sorted(
        (pathlib.Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python"), reverse=True
    )
    return [*pyenv, *([pathlib.Path(on_path)] if on_path else [])]


def _version(python: pathlib.Path) -> tuple[int, int] | None:
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    words = done.stdout.split()
    return (int(words[0]), int(words[1])) if done.returncode == 0 and len(words) == 2 else None
