"""ftdemo: the engine behind the glossary's pages, demos and shell commands.

Importing the package loads no torch, no transformers and no gradio, so that ``ftdemo --help`` answers at
once. What it does do is switch usage analytics off and bound the memory of CPU kernels, before any library has a
chance to read the setting.
"""

import os

__version__ = "0.1.0"

for _switch, _value in {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}.items():
    os.environ[_switch] = _value

# PyTorch and oneDNN below it keep a kernel with its buffers for each shape they meet, a thousand by default. Batches of
# rows of like length have many shapes: 40 steps of LoRA then hold 300 MB more, and are no faster for it.
for _cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")
