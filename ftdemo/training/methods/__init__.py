"""The methods of training, a file each. Importing this registers them; torch is imported when one is used.

To add a method: write a file here that defines a `Method`, and register it below.
"""

from ftdemo.recipe import register
from ftdemo.training.methods.classifiers import CLASSIFY, PROBE
from ftdemo.training.methods.dora import DORA
from ftdemo.training.methods.full import FULL
from ftdemo.training.methods.lora import LORA
from ftdemo.training.methods.qlora import QLORA
from ftdemo.training.methods.scratch import SCRATCH
from ftdemo.training.methods.vera import VERA

register(FULL, LORA, DORA, QLORA, VERA, SCRATCH, PROBE, CLASSIFY)
