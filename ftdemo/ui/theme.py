"""The theme of every demo: the site's colours and fonts, in light and dark. Pages load nothing from other servers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ftdemo import charts

HUE = {
    "c50": "#eef8fb",
    "c100": "#d6eef5",
    "c200": "#aedeeb",
    "c300": "#7ccadf",
    "c400": "#43aecb",
    "c500": "#1a8fb0",
    "c600": "#0b6e8a",
    "c700": "#0a5a72",
    "c800": "#0b495c",
    "c900": "#0c3c4c",
    "c950": "#062733",
}

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b6e8a"/>'
    '<path d="M7 7.5c2 10.5 5.5 15.5 16 15.5" fill="none" stroke="#fff" stroke-width="3.6" stroke-linecap="round"/>'
    '<circle cx="23.5" cy="23" r="4.2" fill="#f2a65a" stroke="#0b6e8a" stroke-width="1.4"/></svg>'
)

DEMO_CSS = (
    charts.CSS
    + """
.gradio-container { max-width: 76rem !important; margin: 0 auto !important; }
.ft-lead { font-size: 1.05rem; max-width: 46rem; }
.ft-status { min-height: 3.2em; padding: .7em 1em; border-left: 4px solid #0b6e8a; border-radius: 4px;
  background: var(--background-fill-secondary); font-size: .98rem; }
.ft-status.ft-error { border-left-color: #c62828; }
.ft-numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 0; }
.ft-numbers div { background: var(--background-fill-secondary); border-radius: 8px; padding: .6rem .8rem; }
.ft-numbers dt { font-size: .8rem; color: var(--body-text-color-subdued); }
.ft-numbers dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.ft-answers article { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .8rem 1rem;
  margin-bottom: .8rem; }
.ft-answers .ft-prompt { font-style: italic; margin: 0 0 .6rem; }
.ft-answers .ft-pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; }
.ft-answers h3 { margin: 0 0 .2rem; font-size: .8rem; font-weight: 600; color: var(--body-text-color-subdued); }
.ft-answers .ft-said { white-space: pre-line; margin: 0; overflow-wrap: anywhere; }
.ft-answers .ft-pending { color: var(--body-text-color-subdued); }
.ft-answers .ft-note { margin: .3rem 0 0; font-size: .8rem; color: var(--body-text-color-subdued); }
.ft-fields { border-collapse: collapse; font-size: .92rem; }
.ft-fields th, .ft-fields td { text-align: left; padding: .1rem .7rem .1rem 0; vertical-align: top; border: 0;
  overflow-wrap: break-word; }
.ft-fields th { font-weight: 400; color: var(--body-text-color-subdued); overflow-wrap: normal; }
.ft-fields .ft-right td:last-child { color: #2e7d32; }
.ft-fields .ft-wrong td:last-child { color: #c62828; }
.dark .ft-fields .ft-right td:last-child { color: #81c784; }
.dark .ft-fields .ft-wrong td:last-child { color: #ff8a80; }
.ft-tokens { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: .8rem 1rem; max-height: 22rem;
  overflow-y: auto; border: 1px solid var(--border-color-primary); border-radius: 8px; line-height: 1.7;
  color: var(--body-text-color-subdued); font: .86rem/1.7 ui-monospace, Menlo, Consolas, monospace; }
.ft-tokens mark { color: var(--body-text-color); background: color-mix(in srgb, var(--ft-b) 24%, transparent);
  border-radius: 3px; padding: .1em 0; }
.ft-token { color: var(--body-text-color); border-bottom: 0 solid var(--ft-b); border-radius: 3px; }
.ft-level-1 { border-bottom-width: 1px; background: color-mix(in srgb, var(--ft-b) 12%, transparent); }
.ft-level-2 { border-bottom-width: 2px; background: color-mix(in srgb, var(--ft-b) 25%, transparent); }
.ft-level-3 { border-bottom-width: 4px; background: color-mix(in srgb, var(--ft-b) 40%, transparent); }
.ft-legend { font-size: .85rem; color: var(--body-text-color-subdued); }
.ft-legend .ft-token { padding: 0 .4em; }
.ft-expected { margin: 0; font-size: .9rem; color: var(--body-text-color-subdued); }
.ft-status ul, .ft-findings { margin: .4em 0; padding-left: 1.2em; overflow-wrap: anywhere; }
.ft-findings { font-size: .9rem; }
.ft-table { width: 100%; border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
.ft-table th, .ft-table td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid
  var(--border-color-primary); }
.ft-table th[scope=row] { text-align: left; font-weight: 400; color: var(--body-text-color-subdued); }
@media (max-width: 640px) {
  .ft-answers .ft-pair { grid-template-columns: minmax(0, 1fr); }
  .ft-answers article, .ft-answers article * { min-width: 0; overflow-wrap: anywhere; }
}
"""
)


def launch_settings() -> dict[str, Any]:
    """What `launch()` and `mount_gradio_app()` take to give a demo the site's theme and safe limits."""
    import gradio as gr
    from starlette.middleware import Middleware

    from ftdemo.ui.bounds import BoundedBody
    from ftdemo.ui.streams import HeldReceipts

    hue = gr.themes.Color(name="teal", **HUE)
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    mono = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
    theme = gr.themes.Default(primary_hue=hue, secondary_hue=hue, neutral_hue="slate", font=fonts, font_mono=mono).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_label_background_fill="none",
        block_label_background_fill_dark="none",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_border_width="1px",
        block_shadow="none",
    )
    return {
        "theme": theme,
        "css": DEMO_CSS,
        "head": f'<link rel="icon" href="data:image/svg+xml,{quote(_ICON)}">',
        "footer_links": ["api"],
        "ssr_mode": False,
        "enable_monitoring": False,
        "max_file_size": "20mb",
        "mcp_server": True,
        "app_kwargs": {"middleware": [Middleware(BoundedBody), Middleware(HeldReceipts)]},
    }
