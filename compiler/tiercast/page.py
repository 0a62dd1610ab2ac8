"""HTML pages for people: self-contained, from Jinja2 templates beside the code that fills them."""

from __future__ import annotations

from pathlib import Path

import jinja2


def page_templates(beside: str) -> jinja2.Environment:
    """The templates beside a module (`beside`: its `__file__`): text is escaped, and a name that
    a template does not know is an error.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(beside).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
