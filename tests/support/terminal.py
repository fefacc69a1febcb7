"""Run the command on a terminal of so many columns, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Python that runs the command as if rich were not installed.
WITHOUT_RICH = (
    "import sys\n"
    "sys.modules.update(dict.fromkeys(('rich', 'rich.console', 'rich.text', 'rich.progress')))\n"
    "from xenmm.cli import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


def _take_terminal():
    # Of its own, so that Ctrl-C on it is a signal, and echoed.
    os.setsid()
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def on_terminal(
    columns, *words, rich=True, rows=40, stdin=b"", environment=None, interrupt_at=None, progress=True
):
    """The exit code, and what a terminal got on standard output and standard error together.

    Without `progress` standard error is no terminal's, so that nothing is told of how far it is. With
    `interrupt_at`, Ctrl-C as soon as this text was shown.
    """
    program = ["-m", "xenmm"] if rich else ["-c", WITHOUT_RICH]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs if progress else subprocess.DEVNULL,
        env={**kept, "TERM": "xterm-256color", **(environment or {})},
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    if stdin:
        process.stdin.write(stdin)
    process.stdin.close()
    got = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        got += piece
        if interrupt_at is not None and interrupt_at.encode() in got:
            os.write(ours, b"\x03")
            interrupt_at = None
    os.close(ours)
    return process.wait(60), got.decode().replace("\r\n", "\n")


def screen(text, columns=10_000):
    """What a terminal shows at the end: carriage returns, cursor up, erase in line."""
    lines, row, column = [""], 0, 0
    for control, char in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)|([\s\S])", text):
        if char:
            if column == columns:
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
        elif control == "\r":
            column = 0
        elif control == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif control.endswith("A"):
            row -= int(control[2:-1] or 1)
        elif control.endswith("K"):
            lines[row] = "" if control[2:-1] == "2" else lines[row][:column]
    return "\n".join(lines)
