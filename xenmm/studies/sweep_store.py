"""The folder of a sweep: a marker, a file for each cell, and the table.

Cells lie in ``cells/ab/abcdef....json``, by the first digits of their names, so that no folder becomes large.
Every file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError
from ..files import write_whole
from .sweep_cells import CELL_SCHEMA, Cell
from .sweep_inputs import MARKER

SWEEP_SCHEMA: Final = "xenmm-sweep/1"
_MARKER_TEXT: Final = json.dumps({"schema": SWEEP_SCHEMA}) + "\n"


class Store:
    """The results in one folder.

    Parameters
    ----------
    folder : path
        A new or empty folder, or one that a sweep made.
    create : bool
        Make it if it is not there.

    Raises
    ------
    ConfigError
        If the folder holds something else.
    OSError
        If it cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike[str], *, create: bool = True) -> None:
        self.folder = Path(folder)
        self._cells = self.folder / "cells"
        if create and not self.folder.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
        _check(self.folder, create)
        self._scraps = self._find_scraps()
        if create:
            self.write_file(MARKER, _MARKER_TEXT)
            self._cells.mkdir(exist_ok=True)

    def path(self, cell_id: str) -> Path:
        """Where a cell's document is."""
        return self._cells / cell_id[:2] / f"{cell_id}.json"

    def read(self, cell_id: str) -> dict[str, Any] | None:
        """A cell's document; None when there is none, or what is there is damaged."""
        try:
            document = json.loads(self.path(cell_id).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(document, dict) or document.get("schema") != CELL_SCHEMA:
            return None
        return document if document.get("cell") == cell_id else None

    def current(self, cell: Cell) -> dict[str, Any] | None:
        """The cell's document, when it is there and still true."""
        document = self.read(cell.id)
        if document is None or any(document.get(name) != value for name, value in cell.head().items()):
            return None
        return document if document.get("status") in ("done", "failed") else None

    def write(self, cell: Cell, document: bytes) -> None:
        """Keep a cell's document."""
        path = self.path(cell.id)
        path.parent.mkdir(exist_ok=True)
        self._write(path, document)

    def write_file(self, name: str, data: str | bytes) -> Path:
        """Write a file beside the cells, and return its path."""
        self._write(self.folder / name, data)
        return self.folder / name

    def cells(self) -> Iterator[dict[str, Any]]:
        """The document of every cell in the folder, by name."""
        for path in sorted(self._cells.glob("??/*.json")):
            document = self.read(path.stem)
            if document is not None:
                yield document

    def _write(self, path: Path, data: str | bytes) -> None:
        write_whole(path, data)
        for scrap in self._scraps.pop(path, ()):
            with contextlib.suppress(OSError):
                scrap.unlink()

    def _find_scraps(self) -> dict[Path, list[Path]]:
        # What a killed writer left beside its target: .NAME.PID.part. It goes when the target is written
        # again; one that nobody writes here may be another shard's, at work right now.
        found: dict[Path, list[Path]] = {}
        for path in (*self.folder.glob(".*.part"), *self._cells.glob("??/.*.part")):
            target = path.name.removeprefix(".").rsplit(".", 2)[0]
            found.setdefault(path.with_name(target), []).append(path)
        return found


def _check(folder: Path, create: bool) -> None:
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: a file, and no folder of a sweep" if folder.exists() else f"{folder}: no such folder"
        )
    marker = folder / MARKER
    if not marker.exists():
        strange = (e for e in folder.iterdir() if not e.name.startswith(f".{MARKER}"))
        if not create or any(strange):
            raise ConfigError(
                f"{folder}: not the folder of a sweep, and not empty: name another, or a new one"
            )
        return
    try:
        schema = json.loads(marker.read_bytes()).get("schema")
    except (ValueError, AttributeError):
        schema = None
    if schema != SWEEP_SCHEMA:
        raise ConfigError(f"{marker}: schema {schema!r}, this xenmm reads and writes {SWEEP_SCHEMA!r}")
