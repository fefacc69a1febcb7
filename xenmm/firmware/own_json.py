"""The package's own JSON of a memory map: everything the model holds, nothing more, read strictly.

The text is one object: ``schema`` (:data:`~xenmm.firmware.memory_map.MAP_SCHEMA`), ``name``, ``arch``,
``format``, ``ranges``, ``srat``, ``notes``, ``stated``. Addresses are hexadecimal strings (``"0x100000"``) or
integers, in bytes; ranges are half-open. Fields at their default are left out. An unknown key, a repeated
key, a fraction, a boolean in place of a number or a value out of its domain is an error that names the
place in the document (``ranges[3].end``) and, when the text is at hand, the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

from ..errors import MemoryMapError
from .memory_map import (
    KINDS,
    LEVELS,
    MAP_SCHEMA,
    SRAT_ENABLED,
    U32_END,
    MemoryMap,
    MemoryRange,
    Note,
    Source,
    SratRange,
    Stated,
)

FORMAT: Final = "xenmm-map"

# A map that lacks its schema is still to be told so.
_BEGINNING = re.compile(r'\{(?=\s*"(?:ranges|srat|name)"\s*:|[^\[]*"schema"\s*:\s*"xenmm-map)')
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,17}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_DIGITS: Final = 40

T = TypeVar("T")
_Path = tuple[str | int, ...]


class _FieldError(Exception):
    """A value that the schema refuses, with its place in the document."""

    def __init__(self, path: _Path, why: str, value: object = None) -> None:
        self.path, self.why, self.value = path, why, value
        super().__init__(why)


# ---------------------------------------------------------------- writing


def to_dict(memory_map: MemoryMap) -> dict[str, Any]:
    """Return the map as the JSON object of schema ``xenmm-map/1``; addresses are hexadecimal strings."""
    document: dict[str, Any] = {"schema": MAP_SCHEMA}
    for key in ("name", "arch", "format"):
        if getattr(memory_map, key):
            document[key] = getattr(memory_map, key)
    document["ranges"] = [_range_out(r) for r in memory_map.ranges]
    document["srat"] = None if memory_map.srat is None else [_srat_out(r) for r in memory_map.srat]
    if memory_map.notes:
        document["notes"] = [_note_out(n) for n in memory_map.notes]
    if stated := _stated_out(memory_map.stated):
        document["stated"] = stated
    return document


def dumps(memory_map: MemoryMap) -> str:
    """Return :func:`to_dict` as text, one range or row a line, ended by a newline."""
    fields = []
    for key, value in to_dict(memory_map).items():
        if isinstance(value, list) and value:
            rows = ",\n    ".join(map(_value_text, value))
            fields.append(f'  "{key}": [\n    {rows}\n  ]')
        else:
            fields.append(f'  "{key}": {_value_text(value)}')
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _value_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # A file's name may hold bytes that are no text, which no encoding takes as they are.
    return json.dumps(value) if _SURROGATE.search(text) else text


def _range_out(row: MemoryRange) -> dict[str, Any]:
    out: dict[str, Any] = {"start": hex(row.start), "end": hex(row.end), "kind": row.kind}
    if row.label:
        out["label"] = row.label
    if row.source:
        out["source"] = _source_out(row.source)
    return out


def _srat_out(row: SratRange) -> dict[str, Any]:
    out: dict[str, Any] = {"start": hex(row.start), "end": hex(row.end), "node": row.node, "flags": row.flags}
    if row.pxm is not None:
        out["pxm"] = row.pxm
    if row.source:
        out["source"] = _source_out(row.source)
    return out


def _note_out(note: Note) -> dict[str, Any]:
    out: dict[str, Any] = {"level": note.level, "text": note.text}
    if note.excerpt:
        out["excerpt"] = note.excerpt
    if note.dropped_bytes is not None:
        out["dropped_bytes"] = note.dropped_bytes
    if note.source:
        out["source"] = _source_out(note.source)
    return out


def _source_out(source: Source) -> dict[str, Any]:
    out: dict[str, Any] = {"file": source.file}
    if source.line is not None:
        out["line"] = source.line
    if source.format:
        out["format"] = source.format
    return out


def _stated_out(stated: Stated) -> dict[str, Any]:
    out = {
        key: getattr(stated, key)
        for key in ("ram_bytes", "last_pfn", "command_line", "xen_version")
        if getattr(stated, key) is not None
    }
    for key in ("pfn_compression", "numa_rows"):
        if getattr(stated, key):
            out[key] = list(getattr(stated, key))
    if stated.details:
        out["details"] = dict(stated.details)
    return out


# ---------------------------------------------------------------- reading


def from_dict(document: Mapping[str, Any], file: str | None = None) -> MemoryMap:
    """Make a map from the object that :func:`to_dict` returns.

    Parameters
    ----------
    document : mapping
        The object, of schema ``xenmm-map/1``.
    file : str, optional
        The input's name, for errors and for ranges that carry no source of their own.

    Raises
    ------
    MemoryMapError
        If a key is unknown or missing, or a value has the wrong type or is out of its domain; the
        message names the place in the document and the value.
    """
    try:
        return _map_in(document, file)
    except _FieldError as bad:
        _raise(bad, file, None)


def sniff(lines: Sequence[tuple[int, str]]) -> bool:
    """Whether the text is a JSON object that calls itself a ``xenmm-map``, or begins with its fields."""
    head = "\n".join(text for _, text in lines[:200]).lstrip("\ufeff \t\n")
    return _BEGINNING.match(head) is not None


def read(lines: Sequence[tuple[int, str]], file: str) -> MemoryMap:
    """Read the package's own JSON.

    Parameters
    ----------
    lines : sequence of (line number from 1, text)
        The document.
    file : str
        The input's name, for errors and provenance.

    Raises
    ------
    MemoryMapError
        If the text is no JSON, repeats a key, or is not of the schema; the message names the line and
        the place in the document.
    """
    text = "\n".join(line for _, line in lines)
    numbers = [number for number, _ in lines]
    try:
        document = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_int_in,
        )
    except json.JSONDecodeError as error:
        line = numbers[error.lineno - 1] if error.lineno <= len(numbers) else None
        raise MemoryMapError(f"no JSON: {error.msg}", file=file, line=line, column=error.colno) from None
    except RecursionError:
        raise MemoryMapError("no map: the JSON is nested too deeply", file=file) from None
    except _FieldError as bad:
        _raise(bad, file, _line_of_key(bad, lines))
    try:
        return _map_in(document, file)
    except _FieldError as bad:
        _raise(bad, file, _line_of(bad.path, text, numbers))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _FieldError((), f"the key {_show(twice)} stands twice in one object", twice)
    return found


def _no_constant(word: str) -> NoReturn:
    raise _FieldError((), f"{word} is no number of this format", word)


def _int_in(digits: str) -> int:
    # The length is bounded before the conversion: Python refuses, or takes long over, thousands of digits.
    if len(digits) > _MOST_DIGITS:
        raise _FieldError(
            (), f"{digits[:20]}... has {len(digits)} digits; need 0 <= value <= 2^64", digits[:20]
        )
    return int(digits)


def _raise(bad: _FieldError, file: str | None, line: int | None) -> NoReturn:
    place = ""
    for step in bad.path:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else step
    raise MemoryMapError(f"{place}: {bad.why}" if place else bad.why, file=file, line=line) from None


def _line_of_key(bad: _FieldError, lines: Sequence[tuple[int, str]]) -> int | None:
    # The parser's hooks know the offending word, not where it stands: its last appearance is close enough.
    found = [number for number, text in lines if str(bad.value) in text]
    return found[-1] if found else None


def _line_of(path: _Path, text: str, numbers: Sequence[int]) -> int | None:
    """Return the line on which the value at ``path`` begins, by walking the text once more."""
    decoder, blanks = json.JSONDecoder(), re.compile(r"[\ufeff \t\r\n]*")

    def skip(at: int) -> int:
        found = blanks.match(text, at)
        return found.end() if found else at

    at = skip(0)
    try:
        for step in path:
            index, inside = 0, skip(at + 1)
            while True:
                key: str | int = index
                if text[at] == "{":
                    key, inside = decoder.raw_decode(text, inside)
                    inside = skip(skip(inside) + 1)
                if key == step:
                    at = inside
                    break
                _, inside = decoder.raw_decode(text, inside)
                inside, index = skip(skip(inside) + 1), index + 1
    except (ValueError, IndexError, RecursionError):
        # A missing key has no place of its own: the object that lacks it is the place.
        pass
    line = text.count("\n", 0, at)
    return numbers[line] if line < len(numbers) else None


def _map_in(document: Any, file: str | None) -> MemoryMap:
    # "frozen" is what one boot made of the map, which an export adds; it says nothing about the machine.
    optional = ("name", "arch", "format", "srat", "notes", "stated", "frozen")
    fields = _fields(document, (), ("schema", "ranges"), optional)
    if not isinstance(fields["schema"], str) or fields["schema"] != MAP_SCHEMA:
        raise _FieldError(
            ("schema",), f"{_show(fields['schema'])} is not the schema {MAP_SCHEMA!r} that is read here"
        )
    default = Source(file, None, FORMAT) if file is not None else None
    srat = fields.get("srat")
    return MemoryMap(
        ranges=_list(fields["ranges"], ("ranges",), lambda v, p: _range_in(v, p, default)),
        srat=None if srat is None else _list(srat, ("srat",), lambda v, p: _srat_in(v, p, default)),
        name=_text(fields.get("name", ""), ("name",)),
        format=_text(fields.get("format", FORMAT), ("format",)),
        notes=_list(fields.get("notes", []), ("notes",), _note_in),
        stated=_stated_in(fields.get("stated", {}), ("stated",)),
        arch=_text(fields.get("arch", ""), ("arch",)),
    )


def _range_in(value: Any, path: _Path, default: Source | None) -> MemoryRange:
    fields = _fields(value, path, ("start", "end", "kind"), ("label", "source"))
    kind = _text(fields["kind"], (*path, "kind"))
    if kind not in KINDS:
        raise _FieldError((*path, "kind"), f"unknown kind of range {kind!r}; one of {', '.join(KINDS)}")
    return _checked(
        path,
        MemoryRange,
        start=_number(fields["start"], (*path, "start")),
        end=_number(fields["end"], (*path, "end")),
        kind=kind,
        label=_text(fields.get("label", ""), (*path, "label")),
        source=_source_in(fields.get("source"), (*path, "source"), default),
    )


def _srat_in(value: Any, path: _Path, default: Source | None) -> SratRange:
    fields = _fields(value, path, ("start", "end"), ("node", "flags", "pxm", "source"))
    pxm = fields.get("pxm")
    return _checked(
        path,
        SratRange,
        start=_number(fields["start"], (*path, "start")),
        end=_number(fields["end"], (*path, "end")),
        node=_number(fields.get("node", 0), (*path, "node"), U32_END - 1),
        flags=_number(fields.get("flags", SRAT_ENABLED), (*path, "flags"), U32_END - 1),
        pxm=None if pxm is None else _number(pxm, (*path, "pxm"), U32_END - 1),
        source=_source_in(fields.get("source"), (*path, "source"), default),
    )


def _checked(path: _Path, make: Callable[..., T], **fields: Any) -> T:
    # The model checks start and end; its error lacks the place in the document.
    try:
        return make(**fields)
    except MemoryMapError as error:
        raise _FieldError(path, error.message) from None


def _note_in(value: Any, path: _Path) -> Note:
    fields = _fields(value, path, ("level", "text"), ("excerpt", "dropped_bytes", "source"))
    if fields["level"] not in LEVELS:
        raise _FieldError(
            (*path, "level"), f"unknown level {_show(fields['level'])}; one of {', '.join(LEVELS)}"
        )
    dropped = fields.get("dropped_bytes")
    return Note(
        level=fields["level"],
        text=_text(fields["text"], (*path, "text")),
        source=_source_in(fields.get("source"), (*path, "source"), None),
        excerpt=_text(fields.get("excerpt", ""), (*path, "excerpt")),
        dropped_bytes=None if dropped is None else _number(dropped, (*path, "dropped_bytes")),
    )


def _source_in(value: Any, path: _Path, default: Source | None) -> Source | None:
    if value is None:
        return default
    fields = _fields(value, path, ("file",), ("line", "format"))
    line = fields.get("line")
    return Source(
        file=_text(fields["file"], (*path, "file")),
        line=None if line is None else _number(line, (*path, "line")),
        format=_text(fields.get("format", ""), (*path, "format")),
    )


def _stated_in(value: Any, path: _Path) -> Stated:
    readers: dict[str, Callable[[Any, _Path], Any]] = {
        "ram_bytes": _number,
        "last_pfn": _number,
        "command_line": _text,
        "xen_version": _text,
        "pfn_compression": lambda v, p: _list(v, p, _text),
        "numa_rows": lambda v, p: _list(v, p, _text),
        "details": _details_in,
    }
    fields = _fields(value, path, (), tuple(readers))
    return Stated(**{key: readers[key](v, (*path, key)) for key, v in fields.items() if v is not None})


def _details_in(value: Any, path: _Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _FieldError(path, f"need an object, got {_show(value)}")
    return value


def _fields(
    value: Any, path: _Path, required: tuple[str, ...], optional: tuple[str, ...]
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _FieldError(path, f"need an object, got {_show(value)}")
    for key in value:
        if key not in required and key not in optional:
            known = ", ".join(required + optional)
            raise _FieldError((*path, str(key)), f"unknown key {_show(key)}; one of {known}")
    for key in required:
        if key not in value:
            raise _FieldError((*path, key), f"the key {key!r} is missing")
    return value


def _list(value: Any, path: _Path, read_one: Callable[[Any, _Path], T]) -> tuple[T, ...]:
    if not isinstance(value, list | tuple):
        raise _FieldError(path, f"need a list, got {_show(value)}")
    return tuple(read_one(item, (*path, i)) for i, item in enumerate(value))


def _text(value: Any, path: _Path) -> str:
    if not isinstance(value, str):
        raise _FieldError(path, f"need a text, got {_show(value)}")
    return value


def _number(value: Any, path: _Path, most: int = 1 << 64) -> int:
    if isinstance(value, str) and _HEX.match(value):
        value = int(value, 16)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _FieldError(path, f"need an integer or a text such as '0x100000', got {_show(value)}")
    if not 0 <= value <= most:
        raise _FieldError(path, f"{value} is out of bounds; need 0 <= value <= {most:#x}")
    return value


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
