"""The project's own part of the sphinx build.

- Figures and blocks of the pages (the marks of tests/support/doc_figures.py) are put in anew from the records
  and the program; a page whose committed text shows another figure is a warning, and with ``-W`` an error.
- ``[word](glossary.md#word)`` becomes a reference to the glossary's entry, which must exist.
- Links to files at the root of the tree lead to the pages that include them.
- Docstrings name their neighbours shortly: such a reference leads to the one documented object of that name,
  and a type in a signature that is documented nowhere stays plain text. Any other reference must resolve.
- Every public name must be in the API reference.
- The directive ``xenmm-plot`` runs a command with ``--plot`` and shows its picture.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import doc_figures  # noqa: E402

LOG = logging.getLogger(__name__)

_COMMENT = re.compile(r"\s*<!--\s*(?:figure|quoted):.*?-->", re.DOTALL)
_BLOCK_MARK = re.compile(r"<!--\s*(?:block:.*?|end of block)\s*-->\n?", re.DOTALL)
_TERM = re.compile(r"\[([^\]]+)\]\((?:\.\./)*glossary\.md#([\w-]+)\)")
#: Pages that show files of the tree's root.
INCLUDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks-method.md",
}


def put_figures_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put figures and blocks in anew, and take the marks off."""
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".md":
        return
    page = source[0]
    fresh = doc_figures.regenerated(page)
    if fresh != page:
        LOG.warning("figures are not today's: run `make figures`", location=docname)
    fresh = _BLOCK_MARK.sub("", _COMMENT.sub("", fresh))
    fresh = _TERM.sub(lambda m: f"{{term}}`{m[1]} <{m[2].replace('-', ' ')}>`", fresh)
    up = "../" * (1 + docname.count("/"))
    for file, target in INCLUDED.items():
        fresh = fresh.replace(f"]({up}{file})", f"]({up[3:]}{target})")
    source[0] = fresh


class XenmmPlot(Directive):
    """``xenmm-plot``: a command of xenmm without ``--plot``; ``:alt:`` describes the picture it draws."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        env = self.state.document.settings.env
        words = shlex.split(self.arguments[0])
        name = re.sub(r"\W+", "-", " ".join(words[1:])).strip("-") + ".svg"
        target = Path(env.app.outdir, "_images", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _draw([*words[1:], "--plot", str(target)])
        folder = "../" * env.docname.count("/") + "_images"
        alt = self.options.get("alt", self.arguments[0])
        picture = f'<a href="{folder}/{name}"><img class="plot" src="{folder}/{name}" alt="{alt}"></a>'
        caption = nodes.caption()
        self.state.nested_parse(self.content, self.content_offset, caption)
        command = nodes.paragraph("", "", nodes.literal("", f"{self.arguments[0]} --plot OUT.svg"))
        return [nodes.raw("", picture, format="html"), *caption.children, command]


def _draw(words: list[str]) -> None:
    import contextlib
    import io

    from xenmm.cli import main

    # Paths in a command are those of the tree.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(ROOT):
        code = main(words)
    if code:
        LOG.warning("xenmm %s ended with exit code %s", " ".join(words), code)


def find_neighbour(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference of a docstring by the end of a name, where one documented object alone has it."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    objects = env.domains["py"].objects
    found = {
        (entry.docname, entry.node_id): name
        for name, entry in objects.items()
        if name.endswith("." + target) and not entry.aliased
    }
    if len(found) == 1:
        (docname, anchor), name = found.popitem()
        return make_refnode(app.builder, node["refdoc"], docname, anchor, contnode, name)
    parent = node.parent
    while parent is not None:
        if isinstance(parent, addnodes.desc_signature):
            return contnode
        parent = parent.parent
    return None


#: Packages whose public names must each be documented.
PUBLIC = ("xenmm", "xenmm.firmware", "xenmm.machine", "xenmm.timing")


def public_names_are_documented(app: Sphinx, env: Any) -> None:
    """Warn of each name of an ``__all__`` that the API reference leaves out."""
    from importlib import import_module

    documented = env.domains["py"].objects
    ends = {name.rpartition(".")[2] for name in documented}
    for package in PUBLIC:
        for name in import_module(package).__all__:
            if f"{package}.{name}" not in documented and name not in {*ends, "__version__"} - {"boot"}:
                LOG.warning("%s.%s is public and not in the API reference", package, name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it."""
    app.connect("source-read", put_figures_in)
    app.connect("missing-reference", find_neighbour)
    app.connect("env-check-consistency", public_names_are_documented)
    app.add_directive("xenmm-plot", XenmmPlot)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
