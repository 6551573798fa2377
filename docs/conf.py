"""Sphinx: four kinds of pages, the API from docstrings, examples that are executed."""

from __future__ import annotations

import os

os.environ.setdefault("MINDEYE_PROGRESS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from mindeye import __version__

project = "mindeye"
copyright = "2026, the mindeye developers"
release = __version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.mermaid",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.py", "explanation/results"]
html_theme = "furo"
html_title = f"mindeye {release}"
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give types where they help a reader
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False
default_role = "code"
suppress_warnings = ["config.cache", "myst.xref_missing", "toc.not_included"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "plot_gallery": os.environ.get("MINDEYE_DOCS_PLOT", "True"),
}
