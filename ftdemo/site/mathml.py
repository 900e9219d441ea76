"""Mathematics as MathML, written when the page is built: no script, no font and no picture is loaded for it.

Both functions are formatters in the sense of pymdown-extensions: one for fenced blocks, one for inline code.
"""

from __future__ import annotations

from typing import Any


def block(source: str, language: str, css_class: str, options: Any, md: Any, **kwargs: Any) -> str:
    """A fenced block of LaTeX as display mathematics."""
    return f'<div class="ft-math">{_convert(source, display="block")}</div>'


def inline(source: str, language: str, css_class: str, md: Any) -> str:
    """Inline LaTeX as mathematics."""
    return _convert(source, display="inline")


def _convert(source: str, *, display: str) -> str:
    from latex2mathml.converter import convert

    return str(convert(source.strip(), display=display))
