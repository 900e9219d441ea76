"""All demos in one app, one route per term: /lora, /sft and so on."""

from __future__ import annotations

import gradio as gr

from ftdemo.serving.server import STUDIO, demo_names, load_demo
from ftdemo.ui import theme
from ftdemo.ui.layout import open_page

TITLE = "Fine-tuning, live: all demos"
_INTRO = """
# Fine-tuning, live

Six demos of tasks in one online shop. In each, you watch a real model train, which takes from a few seconds to two
minutes. Then you can try it on your own messages.
"""


def build() -> gr.Blocks:
    """The demos, ready to launch."""
    demos = {name: load_demo(name) for name in demo_names() if name != STUDIO}
    with open_page(TITLE) as studio:
        gr.Markdown(_INTRO, elem_classes="ft-lead")
        gr.Markdown("\n".join(f"- [{demo.TITLE}]({name})" for name, demo in demos.items()))
    pages = {name: demo.build() for name, demo in demos.items()}  # outside of any page: within one it would stand twice
    for name, page in pages.items():
        with studio.route(demos[name].TITLE.partition(":")[0], f"/{name}"):
            page.render()
    return studio


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
