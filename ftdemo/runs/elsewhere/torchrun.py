"""torchrun: ftdemo's own engine in several processes, a GPU each. It does all that ftdemo does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftdemo import __version__
from ftdemo.data import BUILT_IN, AnyRow, Labelled, Row
from ftdemo.models.catalog import CATALOG
from ftdemo.recipe import Recipe
from ftdemo.runs.elsewhere.job import Job
from ftdemo.runs.elsewhere.tool import Groups, Setting, Tool
from ftdemo.runs.notebook import REPOSITORY

_DATA = "./data"


def _recipe(job: Job) -> Recipe:
    """The recipe with what this machine calls by a path under a name that the folder has."""
    recipe = job.recipe
    own_model = {} if recipe.model in CATALOG else {"model": job.model}
    own_data = {} if recipe.data in BUILT_IN else {"data": _DATA, "examples": None}
    return recipe.with_settings({**own_model, **own_data})


def _rows(job: Job, row: AnyRow) -> Iterator[dict[str, Any]]:
    if job.recipe.data in BUILT_IN:
        return
    if isinstance(row, Labelled):
        yield {"text": row.text, "label": row.label}
    elif isinstance(row, Row):
        turns = [{**turn.as_message(), **({} if turn.train else {"train": False})} for turn in row.turns]
        yield {"messages": turns, **({"tools": list(row.tools)} if row.tools else {})}
    else:
        yield {"text": row.text}


def _settings(job: Job) -> Groups:
    return {"Recipe": [Setting(key, value) for key, value in _recipe(job).model_dump(mode="json").items()]}


def _run(_job: Job) -> Sequence[str]:
    return ["torchrun --nproc-per-node 2 -m ftdemo train recipe.yaml --out run"]


def _install(_job: Job) -> Sequence[str]:
    return [f'pip install "ftdemo[smollm2] @ git+{REPOSITORY}"']


def _differs(_job: Job) -> Iterator[str]:
    yield "Nothing: the processes share the examples of each batch, and every trained token weighs the same."


TORCHRUN: Tool = Tool(
    name="torchrun",
    title="ftdemo on several GPUs",
    package="ftdemo",
    version=__version__,
    settings=_settings,
    obstacle=lambda _job: "",
    files=lambda job: {"recipe.yaml": _recipe(job).to_yaml()},
    rows=_rows,
    train_file="data/train.jsonl",
    heldout_file="data/heldout.jsonl",
    install=_install,
    run=_run,
    result="`run/`",
    differs=_differs,
    is_ours=True,
)
