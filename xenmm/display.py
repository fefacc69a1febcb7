"""How objects show themselves in a notebook, without the lower floors knowing how that looks.

The renderer stands floors above what it draws, next to the report whose figures it shares. So it is named
here and looked up at the moment a notebook asks: nothing is imported before, and imports still run down the
floors. See docs/design/0009-one-renderer-for-page-and-notebook.md.
"""

from __future__ import annotations

from importlib import import_module


def repr_html(value: object) -> str:
    """What Jupyter and its kin show for an object; a class takes it as its method ``_repr_html_``."""
    return str(import_module("xenmm.report.notebook").fragment(value))
