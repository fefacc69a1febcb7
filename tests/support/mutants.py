"""Survivors that no test could notice, each with its reason: ``tests/support/mutants_equal.toml``."""

import functools
import tomllib
from pathlib import Path

from records import ROOT

EQUAL = Path(__file__).with_name("mutants_equal.toml")


@functools.cache
def listed():
    """The entries: ``file``, ``function`` where the record names one, ``text`` (the line before),
    ``change`` (as the record has it), ``reason``."""
    return tomllib.loads(EQUAL.read_text())["mutant"]


def plain(text):
    """A text without its line breaks and indents, as records and entries have it."""
    return " ".join(text.split())


def key(row):
    """What names a mutant without its line number, of an entry or of a survivor in a record."""
    file = row["file"] if "file" in row else row["place"].rpartition(":")[0]
    return file, row.get("function", ""), plain(row["text"]), plain(row["change"])


def reason(survivor):
    """Why no test can notice this survivor of a record; None where that is not known."""
    return reasons().get(key(survivor))


@functools.cache
def reasons():
    return {key(entry): entry["reason"] for entry in listed()}


def stale(entries, root=ROOT):
    """Those of the entries whose line stands no longer in its file."""
    return [
        e for e in entries
        if not (root / e["file"]).exists() or plain(e["text"]) not in plain((root / e["file"]).read_text())
    ]  # fmt: skip
