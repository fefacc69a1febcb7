"""The table of a sweep: one row a cell, the same columns for every cell of a kind.

Rows go by input and settings, so that the table's bytes depend on the cells alone.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from ..boot.profiles import PROFILES
from ..errors import ConfigError

Document = Mapping[str, Any]

#: Rows that are written to Parquet at once.
_BATCH: Final = 4096


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type in Parquet, and how it is read from a cell's document."""

    name: str
    type: str
    get: Callable[[Any], Any]


def _at(*path: str) -> Callable[[Any], Any]:
    # What stands at a path of keys; None where a key is missing or the way there is None.
    def get(value: Any) -> Any:
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value

    return get


def _setting(name: str, type: str = "string") -> Column:
    return Column(name, type, _at("settings", name))


def _result(name: str, *path: str, type: str = "uint64") -> Column:
    return Column(name, type, _at("result", *(path or (name,))))


def _joined(result: str, key: str, only: str | None = None) -> Callable[[Any], Any]:
    rows = _at("result", result)

    def get(document: Any) -> Any:
        found = rows(document)
        if found is None:
            return None
        return " ".join(sorted({row[key] for row in found if only is None or row["severity"] == only}))

    return get


def _workload(document: Any) -> str | None:
    given = _at("settings", "workload")(document)
    if given is None:
        return None
    parameters = ",".join(f"{name}={value}" for name, value in given["parameters"].items())
    return f"{given['name']}:{parameters}" if parameters else str(given["name"])


_COMMON: Final = (
    Column("input", "string", _at("input", "name")),
    _setting("kind"),
    _setting("profile"),
    _setting("page_sizes"),
    _setting("compat_m2p", "bool"),
    _setting("hotplug", "bool"),
    _setting("stack_guards", "bool"),
    _setting("command_line"),
    Column("status", "string", _at("status")),
    Column("reason", "string", _at("error", "message")),
    _result("machine", "machine", "name", type="string"),
    _result("format", "machine", "format", type="string"),
    _result("arch", "machine", "arch", type="string"),
    _result("ram_bytes", "machine", "ram_bytes"),
    _result("top", "machine", "top", type="string"),
    _result("ram_ranges", "machine", "ram_ranges"),
    _result("nodes", "machine", "nodes"),
)
_COSTS: Final = (
    "frame_table",
    "m2p",
    "compat_m2p",
    "direct_map_page_tables",
    "other_page_tables",
    "total",
)
_REPORT: Final = (
    _result("used_ram_bytes"),
    _result("lost_bytes", "lost", "bytes"),
    _result("compression", "compression", "kind", type="string"),
    _result("max_page"),
    _result("max_pdx"),
    *(_result(f"{name}_bytes", "bytes", name) for name in _COSTS),
    _result("total_percent", "percent", "total", type="float64"),
    *(
        _result(f"{name}_virtual_bytes", "virtual_bytes", name)
        for name in ("frame_table", "m2p", "direct_map")
    ),
    Column("hazards", "string", _joined("hazards", "code")),
    Column("crash_hazards", "string", _joined("hazards", "code", "crash")),
)
_TIMED: Final = (_setting("uarch"), Column("workload", "string", _workload))
_REPLAY: Final = (
    *_TIMED,
    _setting("accesses", "uint64"),
    _setting("seed", "uint64"),
    *(_result(f"{name}_cycles", "cycles", "serial", name) for name in ("memory", "tlb", "walk", "total")),
    _result("overlapped_cycles", "cycles", "overlapped", "total"),
    _result("bound_by", "cycles", "overlapped", "bound_by", type="string"),
    _result("walks", "walks", "total"),
    _result("walk_reads", "walks", "reads"),
    _result("memory_reads", "memory", "reads"),
    _result("memory_writes", "memory", "writes"),
)


def _of_step(step: str, *path: str) -> Callable[[Any], Any]:
    steps, figure = _at("result", "steps"), _at(*path)

    def get(document: Any) -> Any:
        return next((figure(row) for row in steps(document) or () if row["profile"] == step), None)

    return get


def _steps_columns() -> tuple[Column, ...]:
    from .steps import STEPS

    figures = (
        ("bytes", "uint64", ("memory_bytes", "total")),
        ("conversions", "uint64", ("work", "conversions")),
        ("latency_cycles", "float64", ("cycles", "latency")),
    )
    each = (
        Column(f"{step}.{name}", type, _of_step(step, *path))
        for step in STEPS
        for name, type, path in figures
    )
    return (*_TIMED, _setting("size", "uint64"), *each)


_LAST: Final = (
    Column("input_sha256", "string", _at("input", "sha256")),
    Column("xenmm", "string", _at("xenmm")),
    Column("cell", "string", _at("cell")),
)
_BY_KIND: Final[dict[str, Callable[[], tuple[Column, ...]]]] = {
    "report": lambda: _REPORT,
    "replay": lambda: _REPLAY,
    "steps": _steps_columns,
}


def columns_of(kinds: Iterable[str]) -> list[Column]:
    """The columns of cells of these kinds, each once."""
    present = set(kinds)
    of_kinds = (c for kind, columns in _BY_KIND.items() if kind in present for c in columns())
    return list({c.name: c for c in (*_COMMON, *of_kinds, *_LAST)}.values())


def order_of(document: Document) -> tuple[Any, ...]:
    """Where a cell's row stands: by input, then kind, profile from old to new, and every other setting."""
    settings = document["settings"]
    profiles = list(PROFILES)
    profile = settings.get("profile")
    return (
        document["input"]["name"],
        settings["kind"],
        profiles.index(profile) if profile in PROFILES else -1,
        # Many cells have the same settings, and a sort holds those of all cells.
        sys.intern(json.dumps(settings, sort_keys=True)),
    )


def rows_of(documents: Iterable[Document], columns: list[Column]) -> Iterator[list[Any]]:
    """Each document's values, column by column."""
    for document in documents:
        yield [_plain(column, column.get(document)) for column in columns]


def _plain(column: Column, value: Any) -> Any:
    # Addresses are hexadecimal, as everywhere; 2^64 has no room in 64 bits.
    return f"{value:#x}" if column.name == "top" and value is not None else value


def csv_bytes(documents: Iterable[Document], columns: list[Column]) -> bytes:
    """The table as CSV: true and false, nothing for what is not there."""
    out = io.BytesIO()
    with io.TextIOWrapper(out, encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(column.name for column in columns)
        for row in rows_of(documents, columns):
            writer.writerow(str(v).lower() if isinstance(v, bool) else _printable(v) for v in row)
        text.flush()
        return out.getvalue()


def _printable(value: Any) -> Any:
    # A file's name need not be text; CSV is.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def parquet_bytes(documents: Iterable[Document], columns: list[Column]) -> bytes:
    """The table as Parquet.

    Raises
    ------
    ConfigError
        If pyarrow is not installed.
    """
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError(
            "Parquet needs pyarrow: pip install 'xenmm[arrow]' (table.csv has the same content)"
        ) from None
    schema = pyarrow.schema([(column.name, pyarrow.type_for_alias(column.type)) for column in columns])
    out = io.BytesIO()
    rows = rows_of(documents, columns)
    with parquet.ParquetWriter(out, schema) as writer:
        while batch := [_named(columns, row) for row in itertools.islice(rows, _BATCH)]:
            writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))
    return out.getvalue()


def _named(columns: list[Column], row: list[Any]) -> dict[str, Any]:
    return {column.name: _printable(value) for column, value in zip(columns, row, strict=True)}
