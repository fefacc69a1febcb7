"""How sphinx builds the documentation: `make docs`; every warning is an error there."""

import sys
from pathlib import Path

import xenmm

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "xenmm"
author = "The xenmm developers"
copyright = f"{author}; MIT licence"
release = version = xenmm.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "xenmm_docs"]
exclude_patterns = ["_build"]
nitpicky = True
# Types of other projects: their documentation is not fetched, so that a build needs no network.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|np|npt|collections|os|typing|pathlib|types|decimal|argparse|concurrent)\..*"),
    ("py:.*", r"(ArrayLike|NDArray|Any|Final|Self|PathLike|TypeAlias|TypeVar|T)"),
    # Attributes that numpydoc lists by their names alone.
    ("py:obj", r"[a-z_0-9]+(\.[a-z_0-9]+)?"),
]

myst_enable_extensions = ["deflist", "attrs_inline"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = f"xenmm {release}"
html_static_path = ["_static"]
html_css_files = ["xenmm.css"]
html_show_sourcelink = False
html_last_updated_fmt = None
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5394", "color-brand-content": "#0b5394"},
    "dark_css_variables": {"color-brand-primary": "#7fb2e5", "color-brand-content": "#7fb2e5"},
}
