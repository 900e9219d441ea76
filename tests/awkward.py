"""Models with the tokenizers and templates of common models, made from one of ours, so that nothing is fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{{ '<|im_start|>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim }}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
"""Takes no system turn, wants user and assistant in turn, and calls the assistant by another name, as Gemma's does."""


def changed_copy(
    model: Path,
    out: Path,
    *,
    tokenizer: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    template: str | None = None,
) -> Path:
    """A copy of a model's folder with other settings of its tokenizer and of itself; a value of None removes a key.

    Args:
        model: The folder.
        out: The copy's.
        tokenizer: Of tokenizer_config.json.
        settings: Of config.json and generation_config.json.
        template: The chat template; an empty one is removed.
    """
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("run.json", "recipe.yaml", "README.md", "*.bin"))
    _change(out / "tokenizer_config.json", tokenizer or {})
    for file in ("config.json", "generation_config.json"):
        _change(out / file, settings or {})
    whole = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
    (out / "tokenizer.json").write_text(json.dumps(whole | {"padding": None}), encoding="utf-8")
    if template is not None:
        (out / "chat_template.jinja").write_text(template, encoding="utf-8")
    if template == "":
        (out / "chat_template.jinja").unlink()
    return out


def _change(file: Path, values: dict[str, Any]) -> None:
    if file.exists():
        merged = json.loads(file.read_text(encoding="utf-8")) | values
        kept = {key: value for key, value in merged.items() if value is not None or key not in values}
        file.write_text(json.dumps(kept), encoding="utf-8")
