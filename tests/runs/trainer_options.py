"""The options of other trainers, read from the source of a release: no line of theirs is run, and none is kept here.

`python tests/runs/trainer_options.py` writes `trainer_options.yaml` again. It fetches each release from PyPI with pip.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import yaml

FILE = Path(__file__).with_suffix(".yaml")
"""The names of all options, by trainer and release."""
AXOLOTL, LLAMA_FACTORY, UNSLOTH, MLX = "axolotl==0.19.0", "llamafactory==0.9.5", "unsloth==2026.10.9", "mlx-lm==0.32.2"
TRANSFORMERS, TRL, UNSLOTH_ZOO = "transformers==5.6.0", "trl==1.15.0", "unsloth_zoo==2026.10.9"
"""The releases that LLaMA-Factory and Unsloth ask for."""


def fetched(release: str, folder: Path) -> Path:
    """The files of a release, unpacked."""
    target = folder / release
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", release, "--dest", str(target)]
    subprocess.run(pip, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def fields(paths: Iterable[Path], only: str = "") -> list[str]:
    """The annotated fields of the classes in some files, or of one class."""
    classes = [
        node for path in paths for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    ]
    lines = [line for node in classes if node.name == only or not only for line in node.body]
    names = {
        str(line.target.id) for line in lines if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    return sorted(name for name in names if not name.startswith("_"))


def parameters(path: Path, function: str, of: str = "") -> list[str]:
    """The parameters of a function, or of a class's method."""
    root: ast.AST = ast.parse(path.read_text())
    if of:
        root = next(node for node in ast.walk(root) if isinstance(node, ast.ClassDef) and node.name == of)
    found = next(node for node in ast.walk(root) if isinstance(node, ast.FunctionDef) and node.name == function)
    return sorted(argument.arg for argument in (*found.args.args, *found.args.kwonlyargs))


def keys(path: Path, constant: str) -> list[str]:
    """The keys of a dictionary that is written out in a file."""
    nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    value = next(node.value for node in nodes if getattr(node.targets[0], "id", "") == constant)
    return sorted(ast.literal_eval(value))


def read_options(folder: Path) -> dict[str, dict[str, list[str]]]:
    """All options, by trainer and by what takes them."""
    schemas = fetched(AXOLOTL, folder) / "axolotl/utils/schemas"
    hparams = fetched(LLAMA_FACTORY, folder) / "llamafactory/hparams"
    arguments = fetched(TRANSFORMERS, folder) / "transformers/training_args.py"
    sft = fetched(TRL, folder) / "trl/trainer"
    models = fetched(UNSLOTH, folder) / "unsloth/models"
    masking = fetched(UNSLOTH_ZOO, folder) / "unsloth_zoo/dataset_utils.py"
    lora = fetched(MLX, folder) / "mlx_lm/lora.py"
    parts = ("config", "model", "peft", "training")
    return {
        AXOLOTL: {
            "config": fields(schemas / f"{part}.py" for part in parts),
            "datasets": fields([schemas / "datasets.py"], only="SFTDataset"),
        },
        LLAMA_FACTORY: {"config": fields([*hparams.glob("*_args.py"), arguments])},
        UNSLOTH: {
            "from_pretrained": parameters(models / "loader.py", "from_pretrained", of="FastLanguageModel"),
            "get_peft_model": parameters(models / "llama.py", "get_peft_model", of="FastLlamaModel"),
            "train_on_responses_only": parameters(masking, "train_on_responses_only"),
            "SFTConfig": fields([sft / "sft_config.py", sft / "base_config.py", arguments]),
        },
        MLX: {"config": keys(lora, "CONFIG_DEFAULTS")},
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        FILE.write_text(yaml.safe_dump(read_options(Path(place)), default_flow_style=None, width=118), encoding="utf-8")
