"""The methods of training, a file each. Importing this loads no torch: a method does so when it is used.

To add a method: write a file here that defines a `Method`, and register it below.
"""

from ftdemo.methods.classifiers import CLASSIFY, PROBE
from ftdemo.methods.dora import DORA
from ftdemo.methods.full import FULL
from ftdemo.methods.lora import LORA
from ftdemo.methods.method import Method
from ftdemo.methods.qlora import QLORA
from ftdemo.methods.scratch import SCRATCH
from ftdemo.methods.vera import VERA

__all__ = ["METHODS", "Method"]

METHODS = {method.name: method for method in (FULL, LORA, DORA, QLORA, VERA, SCRATCH, PROBE, CLASSIFY)}
"""The methods that a recipe can name."""
