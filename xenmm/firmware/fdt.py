"""Flattened device trees: a walker over a blob that never trusts it, and a writer of small ones.

Layout (Devicetree Specification 0.4, chapter 5): a header of big-endian words, a list of memory
reservations, a stream of 4-byte tokens that opens and closes nodes and gives properties, and a block of
property names. Every offset and length is checked before it is used, and only the nodes that somebody asks
for are kept, so a hostile blob costs time in proportion to its size and hardly any memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from ..errors import MemoryMapError

MAGIC: Final = b"\xd0\x0d\xfe\xed"
#: Linux takes at most 2 MiB on arm64 (MAX_FDT_SIZE); the largest trees of servers are below 4 MiB.
BYTES_MAX: Final = 16 << 20
#: Linux refuses deeper trees (drivers/of/fdt.c, FDT_MAX_DEPTH).
DEPTH_MAX: Final = 64
_NAME_BYTES_MAX: Final = 1024

_HEADER: Final = struct.Struct(">10I")
_WORD: Final = struct.Struct(">I")
_PAIR: Final = struct.Struct(">QQ")
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9


@dataclass(slots=True)
class Unresolved:
    """A property of a source text whose value needs something that the text does not hold."""

    why: str


@dataclass(slots=True)
class Node:
    """One node: its name with unit address, its properties as bytes, its children by name."""

    name: str
    line: int | None = None
    properties: dict[str, bytes | Unresolved] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def base_name(self) -> str:
        """The name without its unit address."""
        return self.name.partition("@")[0]

    def add_child(self, node: Node) -> None:
        """Add a child; a second one of the same name stays beside the first, as Linux has it."""
        key, count = node.name, len(self.children)
        while key in self.children:
            key, count = f"{node.name}#{count}", count + 1
        self.children[key] = node


@dataclass(frozen=True, slots=True)
class Tree:
    """A device tree: its root, and the memory reservations (start, length) that stand beside it."""

    root: Node
    reservations: tuple[tuple[int, int], ...] = ()


def parse(data: bytes, file: str, keep: Callable[[Node, Sequence[Node]], bool]) -> Tree:
    """Walk a blob.

    Parameters
    ----------
    data : bytes
        The blob; bytes after its stated size are not looked at.
    file : str
        The input's name, for errors.
    keep : callable
        Asked for every complete node and its ancestors, the root first, whether to keep it; the ancestors
        of a kept node are kept too.

    Raises
    ------
    MemoryMapError
        If a size, offset or token is wrong; the message names the offset.
    """
    return _Blob(data, file).tree(keep)


class _Blob:
    def __init__(self, data: bytes, file: str) -> None:
        self.file = file
        if data[:4] != MAGIC or len(data) < _HEADER.size:
            self.fail(f"{len(data)} bytes are no device-tree blob: too few, or not begun by d00dfeed")
        header = _HEADER.unpack_from(data)
        size, self.structure, self.strings, self.reserved, version, oldest = header[1:7]
        strings_size, structure_size = header[8:]
        if size > len(data):
            self.fail(f"the blob is cut short: it states {size} bytes, there are {len(data)}")
        if size > BYTES_MAX:
            self.fail(f"the blob states {size} bytes; at most {BYTES_MAX} are read")
        if version < 16 or oldest > 17:
            self.fail(f"version {version} (compatible with {oldest}) of the blob is not read; 16 and 17 are")
        self.data = data[:size]
        self.strings_end = self.strings + strings_size
        self.structure_end = self.structure + structure_size if version >= 17 else size
        for name, start, end in (
            ("structure block", self.structure, self.structure_end),
            ("strings block", self.strings, self.strings_end),
            ("memory reservations", self.reserved, self.reserved),
        ):
            if start < _HEADER.size or end > size:
                self.fail(f"the {name} [{start:#x}, {end:#x}) lies outside the blob of {size:#x} bytes")
        if self.structure % 4:
            self.fail(f"the structure block begins at {self.structure:#x}, no multiple of 4")

    def fail(self, why: str) -> NoReturn:
        raise MemoryMapError(why, file=self.file)

    def word(self, at: int) -> int:
        if at + 4 > self.structure_end:
            self.fail(f"the structure block ends at {self.structure_end:#x} in the middle of a node")
        return int(_WORD.unpack_from(self.data, at)[0])

    def text(self, at: int, end: int) -> tuple[str, int]:
        """Return the name at an offset, and the offset after its final zero."""
        stop = self.data.find(b"\0", at, min(end, at + _NAME_BYTES_MAX))
        if stop < 0 or at >= end:
            self.fail(f"the name at offset {at:#x} has no end")
        return self.data[at:stop].decode("ascii", "backslashreplace"), stop + 1

    def reservations(self) -> tuple[tuple[int, int], ...]:
        found: list[tuple[int, int]] = []
        at = self.reserved
        while True:
            if at + _PAIR.size > len(self.data):
                self.fail(f"the memory reservations at {self.reserved:#x} have no end")
            start, length = _PAIR.unpack_from(self.data, at)
            if not start and not length:
                return tuple(found)
            found.append((start, length))
            at += _PAIR.size

    def tree(self, keep: Callable[[Node, Sequence[Node]], bool]) -> Tree:
        at, stack = self.structure, list[Node]()
        root: Node | None = None
        while True:
            token = self.word(at)
            at += 4
            if token == _BEGIN_NODE:
                if len(stack) >= DEPTH_MAX or (root is not None and not stack):
                    self.fail(f"the node at offset {at - 4:#x} is a second root or deeper than {DEPTH_MAX}")
                name, after = self.text(at, self.structure_end)
                stack.append(Node(name))
                root = root or stack[0]
                at = (after + 3) & ~3
            elif token == _PROP and stack:
                at = self.property(at, stack[-1])
            elif token == _END_NODE and stack:
                node = stack.pop()
                if stack and (node.children or keep(node, stack)):
                    stack[-1].add_child(node)
            elif token == _END and root and not stack:
                return Tree(root, self.reservations())
            elif token != _NOP:
                self.fail(f"token {token:#x} at offset {at - 4:#x} cannot stand here")

    def property(self, at: int, node: Node) -> int:
        length, name_at = self.word(at), self.strings + self.word(at + 4)
        value = at + 8
        if value + length > self.structure_end:
            self.fail(f"the property at offset {at - 4:#x} states {length} bytes, past the end of its block")
        name, _ = self.text(name_at, self.strings_end)
        node.properties.setdefault(name, self.data[value : value + length])
        return (value + length + 3) & ~3


def to_bytes(tree: Tree) -> bytes:
    """Return a tree as a blob of version 17. Every property must be bytes."""
    strings, offsets, out = bytearray(), dict[str, int](), bytearray()

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    def write(node: Node) -> None:
        out.extend(_WORD.pack(_BEGIN_NODE) + padded(node.name.encode("ascii") + b"\0"))
        for name, value in node.properties.items():
            if isinstance(value, Unresolved):
                raise MemoryMapError(f"property {name} has no value: {value.why}")
            if name not in offsets:
                offsets[name] = len(strings)
                strings.extend(name.encode("ascii") + b"\0")
            out.extend(struct.pack(">III", _PROP, len(value), offsets[name]) + padded(value))
        for child in node.children.values():
            write(child)
        out.extend(_WORD.pack(_END_NODE))

    write(tree.root)
    out.extend(_WORD.pack(_END))
    reserved = b"".join(_PAIR.pack(*r) for r in (*tree.reservations, (0, 0)))
    reserved_at = _HEADER.size
    structure_at = reserved_at + len(reserved)
    strings_at = structure_at + len(out)
    size = strings_at + len(strings)
    header = _HEADER.pack(
        *(0xD00DFEED, size, structure_at, strings_at, reserved_at, 17, 16, 0, len(strings), len(out))
    )
    return header + reserved + bytes(out) + bytes(strings)


def cells(values: Iterable[int], width: int) -> bytes:
    """Return numbers as big-endian cells of 4 bytes, ``width`` cells each."""
    return b"".join(value.to_bytes(4 * width, "big") for value in values)
