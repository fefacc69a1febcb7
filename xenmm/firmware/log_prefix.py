"""What stands before a log line's own text: quotes, time stamps, levels, host names, ``(XEN)``.

Every way of saving a console adds its own prefix, and they stack: a quoted mail of a journal of a kernel
line. They are taken off one at a time, outermost first; the blanks of the line's own indentation stay.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise
from typing import Final, NamedTuple

#: A line is read no further than this. No row of any format is nearly as long.
LINE_LIMIT: Final = 4096
#: How far into a line the start of a kernel's or Xen's own text is looked for behind an unknown prefix.
_REACH: Final = 200


class LogLine(NamedTuple):
    """One line without its prefixes.

    ``realm`` says who printed it: ``xen``, ``guest`` (a domain's console inside Xen's log) or ``""``.
    """

    number: int
    text: str
    realm: str = ""


#: What word processors and web pages make of blanks and dashes.
_TYPOGRAPHY: Final = {
    **dict.fromkeys(map(ord, "\xa0\u2002\u2003\u2007\u2009\u202f"), " "),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-"),
    **dict.fromkeys(map(ord, "\ufeff\x08\u200b\u200e\u200f\u2060\xad")),
}
#: So many escaped line ends in one line make it a log that was packed into a string.
_ESCAPED_ENDS: Final = 3
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_]|\][^\x07]{0,80}\x07)")
_BBCODE = re.compile(r"\[/?(?:COLOR|FONT|SIZE|CODE|QUOTE|B|I|U)(?:=[^\[\]]{0,40})?\]", re.I)
_TAG = re.compile(r"</?(?:br|p|pre|span|div|td|tr|a|b|i|tt|code|font|li|blockquote)\b[^<>]{0,200}>", re.I)
_KERNEL_STAMP = r"\[[ \t]{0,9}\d{1,10}\.\d{3,9}[^\]\n]{0,24}\]"
# Where a kernel's or Xen's own text starts, whatever stands before it.
_OWN_TEXT = re.compile(rf"\(XEN\)|{_KERNEL_STAMP}|\bkernel(?:\[\d{{1,7}}\])?: ")
# What an unknown prefix does not hold: then the mark behind it opens another message.
_CONTENT = re.compile(r"e820|usable|\[mem|PXM|RAM|range=|SMAP|node ")
_WORDS = re.compile(r"\w{3}")
_JOINED = re.compile(r"\(XEN\)|\[[ \t]{0,5}\d{1,6}\.\d{6}\]")
_JSON = re.compile(r'.{0,400}?"(?:msg|MESSAGE|message|log)" ?: ?"')

_MONTH_DAY = r"[^\W\d_]{3,9}\.? {1,2}\d{1,2}"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
# Each takes off one prefix, with at most one blank after it.
_PREFIXES: Final = (
    r"[A-Za-z]{0,4}>(?!=) ?",  # a mail's quote, "> " or "JB> "
    r"\| ",  # ... or "| "
    r"<\d{1,3}>(?:1 (?=\d{4}-))?",  # a level, "<6>"
    # dmesg -x: "kern  :info  : "
    r"(?:kern|user|daemon|syslog|local\d) *: *(?:emerg|alert|crit|err|warn|notice|info|debug) *: ?",
    _KERNEL_STAMP + " ?",  # "[    0.000000]", and dmesg -d's "[    0.000000 <    0.000000>]"
    r"\[\s*[TC]\d{1,7}\] ?",  # the caller, "[    T0]"
    r"\[\] ?",  # a stamp that somebody blanked
    rf"\[[^\[\]]{{0,10}}(?:\d{{4}}-\d\d-\d\d|{_MONTH_DAY} \d\d:|{_CLOCK})[^\[\]]{{0,40}}\] ?",  # dmesg -T
    r"\[\d{1,3}: *[^\[\]]{1,20}: *\d{1,7}\] ?",  # a phone's "[0:  swapper:  0]"
    r"\(\d{1,3}\)\[\d{1,7}:[^\[\]]{1,20}\] ?",
    r"\d{4}-\d\d-\d\d[T _]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
    r"(?: ?[:>|]{1,2})? ?",
    _CLOCK + r"(?: ?[:>|]{1,2})?(?: |(?<=[:>|]))",
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?=\w)",
    rf"{_MONTH_DAY} {_CLOCK}(?: \d{{4}})? ?",  # "Apr  9 12:39:45"
    r"\d{9,11}\.\d{3,9} ",  # seconds since 1970
    r"(?:[\w.:@-]{1,64} )?(?:kernel|hypervisor|xen|syslog)(?:\[\d{1,7}\])?:(?: |$)",  # "host kernel: "
    r"_?MESSAGE=",
    r"\[[A-Z][a-z]{2} ?\d{1,2} \d\d:\d\d\] ?",  # dmesg -H
    r"[\w.:@-]{1,64} kernel - \S{1,20} \S{1,20} ",  # RFC 5424
)
_PREFIX = re.compile(rf"[ \t]*(?:{'|'.join(_PREFIXES)})")
_XEN_STAMP = re.compile(
    r" ?\[(?:[^\[\]]{0,6}\d{4}-\d\d-\d\d[^\[\]]*|[^\[\],]*\d[.:]\d[^\[\],]*|[0-9a-f]{16})\] ?"
)
_GUEST = re.compile(r"\s*(?:HVM\d+:|\(d\d+\)|d\d+(?:v\d+)?(?::|\s+(?=\[|[0-9a-f]{8})))")


def split_line(number: int, raw: str) -> list[LogLine]:
    """Take the prefixes off one line as it stands in a file.

    One raw line can hold several: a serial console loses line ends, an archive's header runs into the
    first line, a carriage return overprints.
    """
    if "\\n" in raw and raw.count("\\n") >= _ESCAPED_ENDS:
        # A whole log as one string of a program or of JSON.
        return [line for part in raw.split("\\n") for line in split_line(number, part)]
    if len(raw) > LINE_LIMIT:
        raw = raw[:LINE_LIMIT]
    if not raw.isascii() or not raw.isprintable():
        raw = _printable(raw)
        if "\n" in raw:
            return [line for part in raw.split("\n") for line in split_line(number, part)]
    if "&" in raw and ";" in raw:
        raw = html.unescape(raw).replace("\xa0", " ")
    if "<" in raw:
        raw = _TAG.sub("", raw)
    if "[/" in raw:
        raw = _BBCODE.sub("", raw)
    if raw.count("[") > 1 or raw.count("(XEN)") > 1:
        marks = [m.span() for m in _JOINED.finditer(raw)]
        # Between the marks of one prefix stand blanks; anything more belongs to a message.
        cuts = [b for (_, end), (b, _) in pairwise(marks) if _WORDS.search(raw, end, b)]
        if cuts:
            return [_strip(number, raw[a:b]) for a, b in pairwise([0, *cuts, len(raw)])]
    return [_strip(number, raw)]


def _printable(raw: str) -> str:
    if "\x1b" in raw:
        raw = _ANSI.sub("", raw)
    raw = raw.translate(_TYPOGRAPHY)
    raw = re.sub(r"[\r\0\n]+", "\n", raw).strip("\n")
    return re.sub(r"[^\S\n\t]|[\x01-\x07\x0e-\x1f\x7f]", " ", raw)


def _strip(number: int, raw: str) -> LogLine:
    position = 0
    realm = ""
    if '"' in raw and (quoted := _JSON.match(raw)):
        position = quoted.end()
    own = _OWN_TEXT.search(raw, position, position + _REACH)
    limit = own.start() if own and not _CONTENT.search(raw, position, own.start()) else None
    while position < len(raw):
        if raw.startswith("(XEN)", position):
            realm = "xen"
            position += 5
            stamp = _XEN_STAMP.match(raw, position)
            position = stamp.end() if stamp else position + raw.startswith(" ", position)
            continue
        found = _PREFIX.match(raw, position)
        if found and found.end() > position:
            position = found.end()
        elif limit is not None and position < limit:
            # An unknown prefix before a known mark: go to the mark.
            position = limit
        else:
            break
    text = raw[position:]
    if "\t" in text.strip():
        text = text[: len(text) - len(text.lstrip())] + text.lstrip().replace("\t", " ")
    if _GUEST.match(text):
        realm = "guest"
    return LogLine(number, text, realm)
