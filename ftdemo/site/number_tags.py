"""Numbers on pages, as ``<data value="key">98%</data>``: looked up by their keys, and kept in the form of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ftdemo.errors import DataError
from ftdemo.site.plugins import Plugin

NUMBER = re.compile(r'<data value="(?P<key>[^"]+)">(?P<printed>[^<]*)</data>')
_PRINTED = re.compile(r"^(?P<digits>-?[\d,?]+)(?:\.(?P<decimals>[\d?]+))?(?P<unit>%| [kMG]B| min|)$")
_UNITS = {"%": 100.0, " kB": 1e-3, " MB": 1e-6, " GB": 1e-9, " min": 1 / 60, "": 1.0}


def update_numbers(text: str, plugins: Sequence[Plugin]) -> str:
    """A page's text with the current value of each number, with as many decimals as before and in the same unit.

    Raises:
        DataError: If no plug-in has a number, or if one is in a form that we cannot write.
    """
    return NUMBER.sub(lambda match: _updated(match, plugins), text)


def _updated(match: re.Match[str], plugins: Sequence[Plugin]) -> str:
    form = _PRINTED.match(match["printed"])
    if not form:
        raise DataError(
            f"`{match[0]}` is not a number with %, kB, MB, GB, min or no unit.", "Write it like 0.98, 98% or 9.8 MB."
        )
    value = _value(match["key"], plugins) * _UNITS[form["unit"]]
    printed = f"{value:,.{len(form['decimals'] or '')}f}{form['unit']}"
    return f'<data value="{match["key"]}">{printed}</data>'


def _value(key: str, plugins: Sequence[Plugin]) -> float:
    for plugin in plugins:
        if (value := plugin.number(key)) is not None:
            return value
    raise DataError(
        f"No recorded number `{key}`.", "Use a key of the site's records, such as `experiment:arm:path.to.number`."
    )
