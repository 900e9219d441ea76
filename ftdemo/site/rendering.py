"""HTML for pages, from the files in ``templates``. Every value is escaped, unless it is Markup or marked as safe."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_ENVIRONMENT = Environment(
    loader=PackageLoader("ftdemo.site"),
    autoescape=True,
    keep_trailing_newline=True,
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}


def render_template(template: str, **values: Any) -> Markup:
    """A template filled with values.

    Args:
        template: The name of a file in ``templates``.
        values: What the template names.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(values))
