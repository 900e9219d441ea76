"""Writes a recipe's folder for another trainer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ftdemo.data import AnyRow
from ftdemo.data.atomic import atomic_write, require_place, require_space
from ftdemo.errors import UsageError, writing
from ftdemo.models.catalog import CATALOG
from ftdemo.runs.elsewhere.axolotl import AXOLOTL
from ftdemo.runs.elsewhere.job import MODEL_FOLDER, Job
from ftdemo.runs.elsewhere.llama_factory import LLAMA_FACTORY
from ftdemo.runs.elsewhere.mlx import MLX
from ftdemo.runs.elsewhere.peft_trl import TRL
from ftdemo.runs.elsewhere.tool import Tool, from_template
from ftdemo.runs.elsewhere.torchrun import TORCHRUN
from ftdemo.runs.elsewhere.unsloth import UNSLOTH

TOOLS = {tool.name: tool for tool in (TRL, UNSLOTH, AXOLOTL, LLAMA_FACTORY, MLX, TORCHRUN)}
"""The trainers that a recipe can be written for."""
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_REMEDY = "Make room, or name another folder with `--out`."


@dataclass(frozen=True)
class Exported:
    """A folder for another trainer."""

    folder: Path
    tool: Tool
    job: Job
    examples: int
    """Training examples, in the tool's format."""
    heldout: int

    @property
    def notes(self) -> list[str]:
        """What is not the same as in ftdemo, a sentence each."""
        return notes_on(self.job, self.tool)


def notes_on(job: Job, tool: Tool) -> list[str]:
    """What a trainer does in another way than ftdemo, a sentence each."""
    return [*tool.differs(job)] if tool.is_ours else [*job.differs, *tool.differs(job)]


def export_job(job: Job, tool: Tool, out: Path) -> Exported:
    """Write a folder in which another trainer does a job.

    Args:
        job: What to do.
        tool: The trainer.
        out: The folder; it may not exist.

    Raises:
        UsageError: If the trainer cannot do it, or the folder exists.
        StorageError: If it cannot be written.
    """
    require_place(out, "Name another folder with `--out`.")
    refuse_impossible(job, tool)
    with writing(out, _REMEDY), atomic_write(out) as new:
        new.mkdir()
        counts = [_write_rows(job, tool, new / tool.train_file, job.splits.train), 0]
        if job.evaluates:
            counts[1] = _write_rows(job, tool, new / tool.heldout_file, job.heldout)
        for name, text in tool.files(job).items():
            (new / name).write_text(text, encoding="utf-8")
        if files := _model_files(job, tool):
            _copy_model(files, new / MODEL_FOLDER, out)
        exported = Exported(out, tool, job, *counts)
        (new / "README.md").write_text(_readme(exported), encoding="utf-8")
    return exported


def refuse_impossible(job: Job, tool: Tool) -> None:
    """Refuse a job that a trainer cannot do.

    Raises:
        UsageError: With the reason, and with the trainers that can.
    """
    if reason := tool.obstacle(job):
        able = [other.name for other in TOOLS.values() if not other.obstacle(job)]
        raise UsageError(f"{tool.title} cannot train this. {reason}", f"Use `--as {'`, or `--as '.join(able)}`.")


def _write_rows(job: Job, tool: Tool, file: Path, rows: Iterable[AnyRow]) -> int:
    file.parent.mkdir(exist_ok=True)
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for row in chain.from_iterable(tool.rows(job, row) for row in rows):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    if not count:  # the trainer has this data of its own
        file.unlink()
    return count


def _model_files(job: Job, tool: Tool) -> Path | None:
    return None if tool.is_ours and job.recipe.model in CATALOG else job.model_files


def _copy_model(source: Path, folder: Path, out: Path) -> None:
    files = [file for pattern in _MODEL_FILES for file in sorted(source.glob(pattern))]
    require_space(out, sum(file.stat().st_size for file in files), "The model", _REMEDY)
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)


def _readme(exported: Exported) -> str:
    job, tool = exported.job, exported.tool
    return from_template(
        "README.md.j2",
        job=job,
        tool=tool,
        exported=exported,
        notes=exported.notes,
        files=sorted(tool.files(job)),
        model_folder=MODEL_FOLDER if _model_files(job, tool) else "",
        install=tool.install(job),
        run=tool.run(job),
    )
