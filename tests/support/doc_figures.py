"""Figures of the documentation: their names, the marks that hold them, and putting them in anew.

One home for the test that compares (tests/test_docs_figures.py), for the sphinx extension that puts figures
in while it builds (docs/_ext/xenmm_docs.py), and for ``make figures``, which rewrites the pages in place.

Marks are HTML comments, so that a page reads the same on a forge, in an editor and built:

- ``14.18% <!-- figure: EXPRESSION -->``: the number before the comment is the expression's value, to the
  number's own decimals. ``<!-- quoted: SOURCE -->`` marks another's figure, which nothing here computes.
- ``<!-- block: EXPRESSION -->`` to ``<!-- end of block -->``: the Markdown between is the expression's value.
- a fenced ``console`` block: each line ``$ COMMAND`` is run, and its output follows. Where a line ``...``
  stands for others, the block is compared and not rewritten.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import conversion_figures
import doc_commands
import linux_figures
import reach_figures
import record_figures
import reliability_figures
import sweep_figures
import timing_figures
import torture_figures

import xenmm
from xenmm.boot.overhead import minimum_costs
from xenmm.boot.profiles import PROFILES
from xenmm.maps import open_map
from xenmm.report.overhead import limit_losses

ROOT = Path(__file__).parents[2]

FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(
    r"(?P<figure>\d+(?:,\d{3})*(?:\.\d+)?)(?P<unit> ?%|(?<=\d\.\d) [KMGT]iB|(?<=\.\d\d) [KMGT]iB)"
    r"(?P<comment>\**\s*<!--\s*(?P<kind>figure|quoted):\s*(?P<what>.*?)\s*-->)?",
    re.DOTALL,
)
#: A number of another unit, or of none, with the comment behind it.
NUMBER = re.compile(
    r"(?P<figure>\d+(?:,\d{3})*(?:\.\d+)?)(?P<unit>(?: [a-z]+){0,2})"
    r"(?P<comment>\**\s*<!--\s*(?P<kind>figure):\s*(?P<what>.*?)\s*-->)"
)
BLOCK = re.compile(
    r"(?P<open><!--\s*block:\s*(?P<what>.*?)\s*-->\n)(?P<text>.*?)(?P<close><!--\s*end of block\s*-->)",
    re.DOTALL,
)


def documents() -> list[Path]:
    """Every page of the documentation, and those at the root of the tree."""
    return sorted(
        p
        for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"))
        if "_build" not in p.parts
    )


@functools.cache
def machine(name):
    return xenmm.read_map(open_map(name), name=name)


@functools.cache
def host(name, profile, page_sizes="1g"):
    return xenmm.boot(machine(name), profile, page_sizes=page_sizes)


def overhead(name, profile, page_sizes="1g"):
    return host(name, profile, page_sizes).overhead()


def percent(name, profile, part="total", page_sizes="1g"):
    """A table's cost in percent of the machine's RAM."""
    return overhead(name, profile, page_sizes).percent[part]


def mib(name, profile, part="total", page_sizes="1g"):
    """A table's cost in MiB."""
    return overhead(name, profile, page_sizes).costs.to_dict()[part] / (1 << 20)


def lost_gib(name, profile):
    """GiB of RAM past the profile's limits."""
    return limit_losses(host(name, profile)) / (1 << 30)


def virtual_gib(name, profile, table):
    """GiB of virtual space from a table's start to its end."""
    return overhead(name, profile).virtual[table] / (1 << 30)


def minimum(part="total"):
    return minimum_costs(1 << 40).percent_of(1 << 40)[part]


def ram(name):
    return machine(name).ram_bytes


def top(name):
    return machine(name).top


def quote(path, language):
    """A file of the tree, fenced."""
    return f"```{language}\n{(ROOT / path).read_text()}```\n"


def conversions_record():
    """The committed record of ``xenmm bench`` as its text."""
    from xenmm.studies.bench_cli import render

    return f"```text\n{render(json.loads(conversion_figures.RECORD.read_text()))}```\n"


def floors():
    """The floors of the package, from the ground up, as the test of structure has them."""
    from house import FLOORS, PURPOSES

    rows = [
        f"| {height} | {', '.join(f'`{n}`' for n in names)} | {PURPOSES[names[0]]} |"
        for height, names in enumerate(FLOORS)
    ]
    return "\n".join(["| floor | modules and folders | what stands there |", "|---|---|---|", *rows]) + "\n"


def profiles():
    """The profiles in order, with the Xen that each follows."""
    rows = [f"| `{p.name}` | {p.source} | {p.compression} | {p.summary} |" for p in PROFILES.values()]
    return (
        "\n".join(["| profile | Xen | can squeeze with | what changed |", "|---|---|---|---|", *rows]) + "\n"
    )


_FIGURES = (percent, mib, lost_gib, virtual_gib, minimum, ram, top)
_BLOCKS = (quote, conversions_record, floors, profiles)
NAMES: dict[str, Any] = (
    {f.__name__: f for f in (*_FIGURES, *_BLOCKS)}
    | timing_figures.NAMES
    | conversion_figures.NAMES
    | linux_figures.NAMES
    | record_figures.NAMES
    | reliability_figures.NAMES
    | reach_figures.NAMES
    | torture_figures.NAMES
    | sweep_figures.NAMES
)


def evaluate(expression: str) -> Any:
    """What an expression of a mark says, with :data:`NAMES` and nothing else."""
    return eval(expression, {"__builtins__": {}}, NAMES)


def as_shown(match: re.Match[str]) -> str:
    """A figure's value, with the decimals and separators that it is shown with."""
    shown = match["figure"]
    value = f"{evaluate(match['what']):,.{len(shown.partition('.')[2])}f}"
    return value if "," in shown else value.replace(",", "")


def regenerated(page: str, *, commands: bool = False) -> str:
    """The page with every figure and block put in anew, and console blocks too where ``commands`` says so."""
    page = BLOCK.sub(lambda m: m["open"] + evaluate(m["what"]) + m["close"], page)
    page = _outside_fences(page, _figures)
    return doc_commands.rerun(page) if commands else page


def _figures(text: str) -> str:
    def put(match: re.Match[str]) -> str:
        if match["kind"] != "figure":
            return match[0]
        return as_shown(match) + match["unit"] + match["comment"]

    return NUMBER.sub(put, FIGURE.sub(put, text))


def _outside_fences(page: str, change: Callable[[str], str]) -> str:
    out, end = [], 0
    for fence in FENCED.finditer(page):
        out += [change(page[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*out, change(page[end:])])


def figures(page: str) -> Iterator[re.Match[str]]:
    """Every figure outside fenced and generated blocks: percentages and sizes, marked or not, and other
    marked numbers."""
    text = FENCED.sub("", BLOCK.sub("", page))
    for pattern in (FIGURE, NUMBER):
        yield from pattern.finditer(text)


def main() -> None:
    """Rewrite every page whose figures, blocks or console blocks are not today's."""
    for path in documents():
        page = path.read_text()
        fresh = regenerated(page, commands=True)
        if fresh != page:
            path.write_text(fresh)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
