"""Parser of device-tree sources (``.dts``), as far as memory needs it.

The language is that of the Device Tree Compiler (dtc, Documentation/dts-format.txt, version 1): nodes,
labels, references, deletions, values in cells, strings and bytes, expressions in parentheses. Includes
are named and left alone. A value that needs more than the text holds becomes
:class:`~xenmm.firmware.fdt.Unresolved`: an error only for who asks for it.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from ..errors import MemoryMapError
from .expressions import ExpressionError, character, evaluate, number
from .fdt import DEPTH_MAX, Node, Tree, Unresolved
from .preprocessor import Preprocessor

#: Sources of whole machines, preprocessed, are below 1 MiB.
TEXT_MAX: Final = 8 << 20

_BLANKS = re.compile(r"[\s\u00a0]*")
_LABEL = re.compile(r"([A-Za-z_]\w*)\s*:")
_NAME = re.compile(r"[\w,.+*#?@-]+")
_ROOT = re.compile(r"/\s*\{")
_REFERENCE = re.compile(r"&(?:\{([^}\n]*)\}|([A-Za-z_]\w*))")
_STRING = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_BYTES = re.compile(r"\[([0-9a-fA-F\s]*)\]")
_BITS = re.compile(r"/bits/\s*(8|16|32|64)\b")
_INCBIN = re.compile(r"/incbin/\s*\([^)\n]*\)")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)[uUlL]{0,3}(?![\w.])")
_CHARACTER = re.compile(r"'(?:\\.|[^'\\\n])'")
_MACRO = re.compile(r"[A-Za-z_]\w*")
_VERSION = re.compile(r"/dts-v1/\s*;")
_PLUGIN = re.compile(r"/plugin/\s*;")
_ADDRESS: Final = r"(0[xX][0-9a-fA-F]+|\d+)[uUlL]{0,3}"
_MEMRESERVE = re.compile(rf"/memreserve/\s*{_ADDRESS}\s+{_ADDRESS}\s*;")
_INCLUDE = re.compile(r'/include/\s*"([^"\n]*)"\s*;?')
_DELETE_NODE = re.compile(r"/delete-node/\s*(&\{[^}\n]*\}|&\w+|[\w,.+*#?@-]+)\s*;")
_DELETE_PROPERTY = re.compile(r"/delete-property/\s*([\w,.+*#?@-]+)\s*;")
_OMIT = re.compile(r"/omit-if-no-ref/")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)


@dataclass(slots=True)
class DtsSource:
    """What a source text holds: its tree, whether it has a root, its includes, and doubts by line."""

    tree: Tree
    has_root: bool
    includes: list[str]
    doubts: list[tuple[int, str]]


def parse(lines: Sequence[tuple[int, str]], file: str) -> DtsSource:
    """Parse a source text.

    Parameters
    ----------
    lines : sequence of (line number from 1, text)
        The source. Nodes outside of a root, as in an excerpt, are taken for the root's children.
    file : str
        The input's name, for errors.

    Raises
    ------
    MemoryMapError
        If the text breaks the grammar; the message names the line and what stands there.
    """
    return _Parser(lines, file).run()


class _Parser:
    def __init__(self, lines: Sequence[tuple[int, str]], file: str) -> None:
        self.file = file
        self.numbers = [at for at, _ in lines] or [1]
        self.preprocessor = Preprocessor()
        text = "\n".join(row for _, row in lines).removeprefix("\ufeff")
        if len(text) > TEXT_MAX:
            raise MemoryMapError(f"the source has {len(text)} characters; at most {TEXT_MAX}", file=file)
        self.text = self.preprocessor.run(text)
        self.line_ends = [m.start() for m in re.finditer("\n", self.text)]
        self.at = 0
        self.root = Node("")
        self.has_root = self.has_version = False
        self.labels: dict[str, Node] = {}
        self.reservations: list[tuple[int, int]] = []
        self.doubts = [(self.number_of(index), text) for index, text in self.preprocessor.doubts]

    def number_of(self, index: int) -> int:
        return self.numbers[min(index, len(self.numbers) - 1)]

    def line(self, at: int | None = None) -> int:
        return self.number_of(bisect.bisect_left(self.line_ends, self.at if at is None else at))

    def fail(self, why: str) -> NoReturn:
        self.skip()
        text = self.text[self.at : self.at + 60].partition("\n")[0].strip()
        raise MemoryMapError(why, file=self.file, line=self.line(), text=text)

    def skip(self) -> None:
        blanks = _BLANKS.match(self.text, self.at)
        self.at = blanks.end() if blanks else self.at

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go past the pattern, and the blanks before it, where it stands next."""
        self.skip()
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found

    def take_mark(self, mark: str) -> bool:
        self.skip()
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) if found else 0
        return found

    def take_labels(self) -> list[str]:
        labels = []
        while found := self.take(_LABEL):
            labels.append(found[1])
        return labels

    # ------------------------------------------------ nodes

    def run(self) -> DtsSource:
        open_nodes: list[Node] = []
        while True:
            labels = self.take_labels()
            if self.at >= len(self.text):
                break
            if open_nodes and self.take_mark("}"):
                self.take_mark(";")
                open_nodes.pop()
            elif not self.statement(open_nodes):
                self.definition(open_nodes, labels)
        if open_nodes:
            self.fail(f"node {open_nodes[-1].name or '/'!r} of line {open_nodes[-1].line} is not closed")
        if not self.has_version:
            self.doubts.append((self.numbers[0], "no /dts-v1/: numbers are read as version 1 has them"))
        tree = Tree(self.root, tuple(self.reservations))
        return DtsSource(tree, self.has_root, self.preprocessor.includes, self.doubts)

    def statement(self, open_nodes: list[Node]) -> bool:
        """Read what begins with a word between slashes; whether there was such a word."""
        if self.take(_VERSION):
            self.has_version = True
            return True
        if self.take(_PLUGIN) or self.take(_OMIT):
            return True
        if found := self.take(_MEMRESERVE):
            self.reservations.append((self.value_of(found[1]), self.value_of(found[2])))
        elif found := self.take(_INCLUDE):
            self.preprocessor.includes.append(f'/include/ "{found[1]}"')
        elif found := self.take(_DELETE_NODE):
            self.delete(found[1], open_nodes)
        elif open_nodes and (found := self.take(_DELETE_PROPERTY)):
            open_nodes[-1].properties.pop(found[1], None)
        return found is not None

    def delete(self, name: str, open_nodes: list[Node]) -> None:
        if not name.startswith("&"):
            (open_nodes[-1] if open_nodes else self.root).children.pop(name, None)
            return
        found = _REFERENCE.match(name)
        node = self.resolve(found) if found else None
        stack = [self.root]
        while node and stack:
            parent = stack.pop()
            parent.children = {key: child for key, child in parent.children.items() if child is not node}
            stack.extend(parent.children.values())

    def definition(self, open_nodes: list[Node], labels: list[str]) -> None:
        """Read the head of a node, or a whole property."""
        self.skip()
        line = self.line()
        if not open_nodes and self.take(_ROOT):
            self.has_root = True
            self.enter(self.root, line, labels, open_nodes)
        elif not open_nodes and (found := self.take(_REFERENCE)):
            if not self.take_mark("{"):
                self.fail(f"need '{{' after {found[0]}")
            self.enter(self.resolve(found) or self.orphan(found[0], line), line, labels, open_nodes)
        elif not (found := self.take(_NAME)):
            self.fail("need a node or a property")
        elif self.take_mark("{"):
            parent = open_nodes[-1] if open_nodes else self.root
            self.enter(parent.children.setdefault(found[0], Node(found[0])), line, labels, open_nodes)
        elif open_nodes and self.take_mark(";"):
            open_nodes[-1].properties[found[0]] = b""
        elif open_nodes and self.take_mark("="):
            open_nodes[-1].properties[found[0]] = self.values()
        else:
            self.fail(f"need '{{', '=' or ';' after {found[0]!r}")

    def enter(self, node: Node, line: int, labels: list[str], open_nodes: list[Node]) -> None:
        if len(open_nodes) >= DEPTH_MAX:
            self.fail(f"nodes are nested deeper than {DEPTH_MAX}")
        node.line = node.line or line
        self.labels.update((label, node) for label in labels)
        open_nodes.append(node)

    def orphan(self, reference: str, line: int) -> Node:
        # A node of an include. Only what may be memory is worth a word.
        if "mem" in reference.lower():
            self.doubts.append((line, f"{reference} is not in this text: what is said of it is not read"))
        return Node(reference)

    def resolve(self, found: re.Match[str]) -> Node | None:
        if found[2]:
            return self.labels.get(found[2])
        node: Node | None = self.root
        for name in found[1].strip("/").split("/"):
            node = node.children.get(name) if node and name else node
        return node

    # ------------------------------------------------ values

    def values(self) -> bytes | Unresolved:
        parts, bits = bytearray(), 32
        unresolved: Unresolved | None = None
        while True:
            self.take_labels()
            part: bytes | Unresolved = b""
            if found := self.take(_BITS):
                bits = int(found[1])
                continue
            if self.take_mark("<"):
                part = self.cells(bits)
            elif found := self.take(_STRING):
                part = _ESCAPE.sub(_unescape, found[1]).encode("utf-8", "replace") + b"\0"
            elif found := self.take(_BYTES):
                digits = re.sub(r"\s", "", found[1])
                part = bytes.fromhex(digits if len(digits) % 2 == 0 else digits + "0")
            elif found := self.take(_REFERENCE) or self.take(_INCBIN):
                part = Unresolved(f"needs the value of {found[0]}")
            else:
                self.fail("need a value")
            if isinstance(part, Unresolved):
                unresolved = unresolved or part
            else:
                parts += part
            self.take_labels()
            if self.take_mark(";"):
                return unresolved or bytes(parts)
            if not self.take_mark(","):
                self.fail("need ',' or ';' after a value")
            bits = 32

    def cells(self, bits: int) -> bytes | Unresolved:
        out = bytearray()
        unresolved: Unresolved | None = None
        while True:
            self.take_labels()
            if self.take_mark(">"):
                return unresolved or bytes(out)
            try:
                value = self.cell()
            except ExpressionError as error:
                unresolved = unresolved or Unresolved(str(error))
                continue
            # A negative number arrives as one just below 2^64.
            if value >> bits and not (1 << 64) - (1 << (bits - 1)) <= value < 1 << 64:
                self.fail(f"{value:#x} does not fit {bits} bits, before")
            out += (value & ((1 << bits) - 1)).to_bytes(bits // 8, "big")

    def cell(self) -> int:
        """Read one cell; raises ExpressionError, past the cell, when its value is not known."""
        if found := self.take(_NUMBER):
            return number(found[1])
        if found := self.take(_CHARACTER):
            return character(found[0])
        if self.take_mark("("):
            return evaluate(self.inside_parentheses())
        if found := self.take(_REFERENCE):
            raise ExpressionError(f"needs the value of {found[0]}")
        if found := self.take(_MACRO):
            if self.take_mark("("):
                self.inside_parentheses()
            raise ExpressionError(f"needs the macro {found[0]}")
        return self.fail("need a cell or '>'")

    def inside_parentheses(self) -> str:
        begin, depth = self.at, 1
        for found in re.finditer(r"[();]", self.text[begin : begin + 4096]):
            depth += {"(": 1, ")": -1}.get(found[0], 0)
            if depth == 0:
                self.at = begin + found.end()
                return self.text[begin : begin + found.start()]
            if found[0] == ";":
                break
        return self.fail("the parenthesis is not closed, before")

    def value_of(self, text: str) -> int:
        try:
            return number(text)
        except ExpressionError as error:
            self.fail(f"{error}, before")


def _unescape(found: re.Match[str]) -> str:
    text = found[1]
    if text[0] == "x" and len(text) > 1:
        return chr(int(text[1:], 16))
    if text[0] in "01234567":
        return chr(int(text, 8))
    return {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}.get(text, text)
