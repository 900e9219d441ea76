"""Whether a text shows anything at all."""

from __future__ import annotations

import unicodedata

_INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}
"""Unicode's categories of control and format characters (zero-width space and joiners among them) and of spaces."""
_BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
"""Characters that count as letters, marks or signs, and are drawn as nothing."""


def is_blank(text: str) -> bool:
    """Whether a text has no visible character."""
    return all(unicodedata.category(char) in _INVISIBLE or char in _BLANK_LETTERS for char in text)
