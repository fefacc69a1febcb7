"""Commands in the documentation: found in its fenced blocks, and run where the files that they name lie.

Every fenced block has a language. ``console`` blocks hold lines ``$ COMMAND`` and what they print; ``sh``
blocks hold commands alone, which must succeed. Each block is run in a folder of its own, where
``server.dmesg`` and the other files of :func:`sandbox` lie, and where ``dmesg``, ``ssh`` and ``sudo`` are
stand-ins that print that log or run the rest of their line. What cannot be run so is listed in
:data:`NOT_RUN` with the reason.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xenmm.firmware import read_map
from xenmm.firmware.writers import write_map
from xenmm.maps import bundled, open_map

#: Commands that no test runs, each with the reason; a ``make`` target must still exist.
NOT_RUN = {
    "make run": "CI's first step: it builds the environment that the tests run in",
    "make test": "the suite that would run it",
    "make asan": "a quarter of an hour: CI's own step",
    "make tsan": "minutes: CI's own step",
    "make memcheck": "CI's own step",
    "make coverage": "CI's own step",
    "make fuzz TARGET=text SECONDS=3600": "an hour: CI runs a slice of it",
    "make leaks RECORD=benchmarks/records/reliability/leaks.json": "minutes: a test runs a part of it",
    "make mutate": "minutes: CI runs a slice of it",
    "make mutate GROUP=boot COUNT=320": "half an hour: CI runs a slice of it",
    "make mutate GROUP=boot-outside COUNT=50": "ten minutes",
    "make mutate GROUP=engine COUNT=150": "an hour",
    "make api": "a minute: CI runs a slice of it",
    "make api SECONDS=600": "ten minutes: CI runs a slice of it",
    "make pythons": "a quarter of an hour: CI runs a slice of it",
    "make long-replay RECORD=benchmarks/records/reliability/hostile.json": "a test runs a part of it",
    "make leaks": "minutes: CI runs a slice of it",
    "make torture": "as long as asked: CI runs a slice of it",
    "make torture SECONDS=600": "ten minutes: CI runs a slice of it",
    "make fuzz": "minutes: CI runs a slice of it",
    "make lint": "CI's own step",
    "make types": "CI's own step",
    "make docs": "CI's own step",
    "make figures": "rewrites the tree; the tests compare its result",
    "make check-dist": "CI's own step",
    ".ci/run": "CI itself",
    "xenmm bench server.dmesg --json record.json": "a minute of measuring; `xenmm bench --quick` is run",
    "xenmm sweep logs/ -o results --dask tcp://scheduler:8786": "a test runs it on a cluster of its own",
    "xenmm bench --check": "a minute of measuring, and an answer that depends on the machine",
}

#: Languages of blocks that hold no command.
OTHER_LANGUAGES = ("python", "cython", "c", "cpp", "toml", "json", "text", "csv")
#: Directives of MyST, whose blocks the build itself checks.
DIRECTIVE = re.compile(r"\{[\w:-]+\}")

_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(
    r"^\s*(\$ |# )?(sudo |chrt [^x]*)?"
    r"(xenmm|make|python3?|pip|cc|c\+\+|gcc|dmesg|ssh|git|apt(-get)?|\.ci/run) (?!=|is |are |has )"
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line of the page that it begins on."""

    language: str
    text: str
    line: int

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Each command, and in a console block the lines that it is shown to print."""
        if self.language == "sh":
            lines = (line.partition("  #")[0].strip() for line in self.text.replace("\\\n", "").splitlines())
            yield from ((line, []) for line in lines if line and not line.startswith("#"))
            return
        command, shown = None, []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                if command is not None:
                    yield command, shown
                command, shown = line[2:], []
            else:
                shown.append(line)
        if command is not None:
            yield command, shown


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for fence in _FENCE.finditer(page):
        text = re.sub(rf"^{fence[1]}", "", fence[3], flags=re.MULTILINE)
        yield Block(fence[2].strip(), text, page.count("\n", 0, fence.start()) + 1)


def commands_that_escape(page: str) -> list[str]:
    """Lines that look like commands and stand where nothing runs them: in other blocks, or indented."""
    found = []
    for block in blocks(page):
        known = block.language in ("sh", "console", *OTHER_LANGUAGES) or DIRECTIVE.match(block.language)
        if not known:
            found.append(f"line {block.line}: a block of language {block.language!r}")
        elif block.language in ("text", "json", "toml", "csv"):
            found += [line for line in block.text.splitlines() if _COMMAND.match(line)]
    prose = _FENCE.sub("", page)
    found += [line for line in prose.splitlines() if line.startswith("    ") and _COMMAND.match(line)]
    return found


def is_run(command: str) -> bool:
    """Whether the tests run a command, rather than list it in :data:`NOT_RUN`."""
    return command not in NOT_RUN


def run_block(block: Block) -> list[tuple[str, list[str], int, list[str]]]:
    """Run a block's commands in turn: each with what is shown, its exit code, and what it printed."""
    with sandbox() as (folder, environment):
        return [
            (command, shown, *_run(command, folder, environment))
            for command, shown in block.commands()
            if is_run(command)
        ]


def _run(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, list[str]]:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3600,
    )
    lines = done.stdout.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return done.returncode, lines


@contextlib.contextmanager
def sandbox() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the files that the documentation names, and an environment in which its commands run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, machine in {
            "server.dmesg": "dell-r930",
            "other.dmesg": "intel-gnr-4s-2t",
            "before.dmesg": "dell-r930",
            "after.dmesg": "dell-r7625-bergamo-32node",
        }.items():
            written = write_map(read_map(open_map(machine)), "e820")
            (folder / file).write_text(str(written))
        (folder / "server-console.log").write_text(bundled()["b1-amd1tib-numa2-417"].read_text())
        (folder / "accesses.din").write_text("".join(f"0 {0x100000 + 64 * i:x}\n" for i in range(1000)))
        (folder / "lackey.txt").write_text("".join(f" L {0x100000 + 60 * i:x},8\n" for i in range(1000)))
        programs = folder / ".bin"
        programs.mkdir()
        for program, text in {
            "xenmm": f'exec "{sys.executable}" -m xenmm "$@"',
            "python": f'exec "{sys.executable}" "$@"',
            "dmesg": f'cat "{folder}/server.dmesg"',
            "ssh": f'cat "{folder}/server.dmesg"',
            "sudo": 'exec "$@"',
        }.items():
            script = programs / program
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        # What a page puts into somebody's home goes into the folder.
        yield folder, {**os.environ, "PATH": path, "COLUMNS": "80", "HOME": name}


def rerun(page: str) -> str:
    """The page with the output of every console block put in anew, where nothing of it is left out."""

    def fresh(fence: re.Match[str]) -> str:
        block = Block(fence[2].strip(), fence[3], 0)
        if block.language != "console" or any(line.strip() == "..." for line in fence[3].splitlines()):
            return fence[0]
        lines = []
        for command, _, _, printed in run_block(block):
            lines += [f"$ {command}", *printed]
        return "\n".join([f"{fence[1]}```{fence[2]}", *lines, f"{fence[1]}```"])

    return _FENCE.sub(fresh, page)
