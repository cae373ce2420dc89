"""Sphinx configuration."""

import eegfound

project = "eegfound"
author = "the eegfound developers"
copyright = "2026, the eegfound developers"
version = release = eegfound.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
]
html_theme = "pydata_sphinx_theme"
html_title = "eegfound"
html_show_sourcelink = False
templates_path = ["_templates"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
