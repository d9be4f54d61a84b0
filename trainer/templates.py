"""Pages from Jinja2 templates, which lie beside the code that fills them. Knows nothing of any page.

Jinja2 comes with torch and is imported when a page is made.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, name: str, **values: Any) -> str:
    """The template `name` of a package's `templates` folder, filled. Whatever is filled in is escaped."""
    return _environment(package).get_template(name).render(**values)


def text_of(package: str, name: str) -> str:
    """A file of the same folder as it stands: a style sheet, a script."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["commas"] = lambda number: f"{number:,}"
    environment.filters["px"] = lambda number: f"{number:.1f}"
    return environment
