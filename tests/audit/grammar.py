"""Checks the grammar of pages, README and CONTRIBUTING with Harper, a grammar checker that sends no text anywhere.

``make grammar`` installs it from npm and runs this. Every finding is either fixed, or dismissed with a reason in
``grammar.yaml``. It is no part of `make test`, because it needs Node.js and the network.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "language"))
from prose import markdown_prose  # noqa: E402


def pages() -> dict[str, str]:
    """The prose of every page that somebody wrote, by its path."""
    written = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {
        path.relative_to(ROOT).as_posix(): markdown_prose(path.read_text(encoding="utf-8"))
        for path in written
        if "node_modules" not in path.parts
    }


def dictionary(words: list[str]) -> list[str]:
    """Our own words and the names of cited authors, each also with an 's."""
    bibliography = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
    cited = re.findall(r"author=\{(.*?)\}, \w+=", bibliography)
    names = {name for authors in cited for name in re.findall(r"[^\W\d_][\w'’-]+", authors)}
    return [form for word in sorted({*words, *names}) for form in (word, f"{word}'s")]


def findings(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What Harper finds, without the rules that are off."""
    asked = {"words": dictionary(settings["words"]), "off": list(settings["disabled"]), "pages": pages()}
    done = subprocess.run(
        ["node", str(HERE / "harper.mjs")],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [{**each, "words": " ".join(each["words"].split())} for each in found]


def main() -> int:
    """Print the findings that nobody dismissed, and what is dismissed although it is not found."""
    settings = yaml.safe_load((HERE / "grammar.yaml").read_text(encoding="utf-8"))
    dismissed = [(each["rule"], re.compile(each["words"], re.IGNORECASE)) for each in settings["dismissed"]]
    used: set[tuple[str, re.Pattern[str]]] = set()
    unknown = 0
    for found in findings(settings):
        reasons = {
            (rule, words) for rule, words in dismissed if rule == found["rule"] and words.fullmatch(found["words"])
        }
        used |= reasons
        if not reasons:
            unknown += 1
            instead = f" Harper suggests: {' or '.join(map(repr, found['instead'][:3]))}." if found["instead"] else ""
            around = " ".join(found["around"].split())
            print(f"{found['page']}:{found['line']}: {found['rule']}: “{found['words']}” in “… {around} …”")
            print(f"    {found['message']}{instead}")
    unused = [each for each in dismissed if each not in used]
    for rule, words in unused:
        print(f"tests/audit/grammar.yaml dismisses what no page has any more: {rule}: {words.pattern}")
    if unknown:
        print(f"{unknown} findings. Fix each, or dismiss it in tests/audit/grammar.yaml with a reason.")
    return 1 if unknown or unused else 0


if __name__ == "__main__":
    sys.exit(main())
