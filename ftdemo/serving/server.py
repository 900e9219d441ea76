"""Servers: one demo alone, or the site and all demos at one address. Both listen on this machine only by default."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ftdemo.errors import STOPPED_BY_CTRL_C, FtdemoError, ServerError, UsageError
from ftdemo.training.hardware import give_memory_back
from ftdemo.ui import SITE
from ftdemo.ui.limits import PUBLIC

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import Response

_PACKAGE = Path(__file__).parents[1]
_DEMO_FOLDERS = (_PACKAGE / "_demos", _PACKAGE.parent / "demos")
"""In an installed package, and in a checkout of the repository."""
_SHUTDOWN_SECONDS = 2
"""How long Ctrl-C waits for open connections: a demo's page holds one open for as long as it is shown."""
STUDIO = "studio"
"""The demo that holds all others."""
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


def demo_names() -> list[str]:
    """The demos there are."""
    return sorted({app.parent.name for folder in _DEMO_FOLDERS for app in folder.glob("*/app.py")})


def demo_folder(name: str) -> Path:
    """Where a demo's files lie.

    Raises:
        UsageError: If there is no such demo.
    """
    found = next((folder / name for folder in _DEMO_FOLDERS if (folder / name / "app.py").is_file()), None)
    if found is None or name not in demo_names():
        raise UsageError(f"No demo called {name}.", f"There is: {', '.join(demo_names())}.")
    return found


def load_demo(name: str) -> ModuleType:
    """A demo's module, from its folder.

    Raises:
        UsageError: If there is no such demo.
        ServerError: If the libraries that demos need are not installed.
    """
    path = demo_folder(name) / "app.py"
    spec = importlib.util.spec_from_file_location(f"ftdemo_demo_{name.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ServerError(f"Demos need the package {error.name}.", "Run `pip install 'ftdemo[demos]'`.") from None
    return module


def serve_demo(name: str, host: str, port: int, *, public: bool = False) -> None:
    """Serve one demo at the root of an address until Ctrl-C.

    Args:
        name: The demo's, or studio for all of them.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        public: Whether strangers may come: then each run is bounded. It is implied by any host but this machine.
    """
    _bound(host, public)
    load_demo(name)
    if name == STUDIO:  # its routes stand at the root
        _serve(lambda: make_app(demos=[name], at="/"), host, port)
    else:
        _serve(lambda: _root_redirect(make_app(demos=[name]), f"/demos/{name}/"), host, port)


def serve_all(site: Path, host: str, port: int, *, public: bool = False) -> None:
    """Serve the built site at ``/`` and each demo at ``/demos/<name>/`` until Ctrl-C; see `serve_demo`.

    Raises:
        UsageError: If the site has not been built.
        ServerError: If the port is taken, or a library is missing.
    """
    _bound(host, public)
    os.environ[SITE] = "/"  # a demo's link to its page stays here
    if not (site / "index.html").is_file():
        raise UsageError(f"There is no built site in {site}.", "Build it first: `make site`.")
    _serve(lambda: make_app(site=site, demos=[name for name in demo_names() if name != STUDIO]), host, port)


def serve_page(build: Callable[[], Any], host: str, port: int) -> None:
    """Serve a page that is no demo, at the root of an address until Ctrl-C.

    Args:
        build: Makes the page, as Gradio's blocks.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.

    Raises:
        ServerError: If the port is taken, or a library is missing.
    """

    def make() -> FastAPI:
        import gradio as gr

        from ftdemo.ui import theme

        return gr.mount_gradio_app(_bare_app(), build(), path="/judge", **theme.launch_settings())  # type: ignore[no-any-return]

    _serve(lambda: _root_redirect(make(), "/judge/"), host, port)


def _bound(host: str, public: bool) -> None:
    """Bound each run where strangers may come; the demos read it when they are loaded."""
    if public or host not in _LOCAL_NAMES:
        os.environ[PUBLIC] = "1"


def make_app(*, site: Path | None = None, demos: list[str], at: str = "/demos/{name}") -> FastAPI:
    """The web application: demos under ``/demos/``, and the site's files, and nothing else of this disk.

    Args:
        site: The built site, if it is served too.
        demos: Names of demos.
        at: Where each demo stands.
    """
    import gradio as gr
    from fastapi.staticfiles import StaticFiles

    from ftdemo.ui import theme

    warnings.filterwarnings("ignore", message=".* gr.State input", module="gradio")  # ours keep their first value
    app = _bare_app(site)
    for name in demos:
        blocks = load_demo(name).build()
        path = at.format(name=name)
        app = gr.mount_gradio_app(app, blocks, path=path, show_error=True, **theme.launch_settings())
    if site:
        app.mount("/", StaticFiles(directory=site, html=True), name="site")
    return app


def _bare_app(site: Path | None = None) -> FastAPI:
    """An application without pages of its own, but for the icon."""
    from fastapi import FastAPI

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/favicon.ico", lambda: _icon(site), methods=["GET"])
    return app


def _icon(site: Path | None) -> Response:
    """What browsers ask for unasked: the site's icon, or none."""
    from fastapi.responses import RedirectResponse, Response

    return RedirectResponse("/assets/favicon.svg") if site else Response(status_code=204)


def _root_redirect(app: FastAPI, target: str) -> FastAPI:
    from fastapi.responses import RedirectResponse

    app.add_api_route("/", lambda: RedirectResponse(target), methods=["GET"])
    return app


def _serve(make: Callable[[], FastAPI], host: str, port: int) -> None:
    try:
        import uvicorn
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from ftdemo.ui import visits
    except ModuleNotFoundError as error:
        raise ServerError(f"Serving needs the package {error.name}.", "Run `pip install 'ftdemo[demos]'`.") from None
    listener = _listen(host, port)
    app = make()
    if host in _LOCAL_NAMES:  # another site's page may not reach this one by giving its name a local address
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL_NAMES))
    address = f"http://{host}:{listener.getsockname()[1]}"

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"Ready at {address}/ (Ctrl-C stops it)", flush=True)
            threading.Thread(target=_warm_up, daemon=True).start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # pages left open are cut off: no error
            await super().shutdown(sockets)
            visits.remove_all()

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_SECONDS)
    try:
        Announced(config).run(sockets=[listener])
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr, flush=True)
        os._exit(STOPPED_BY_CTRL_C)  # at once: a thread that computes may crash an interpreter that takes itself apart


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything slow happens.

    Raises:
        ServerError: If the address cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        what = f"{host}:{port} cannot be listened on: {error.strerror or error}."
        raise ServerError(what, f"Another program may use it. Try another: `--port {port + 1}`.") from None


def _warm_up() -> Any:
    """Load the model, ask it the questions and time some steps before the first visitor comes."""
    from ftdemo.recipe import named
    from ftdemo.ui.session import expected

    try:
        for method in ("lora", "full"):
            expected(named(method, "tiny"))
        give_memory_back()
    except FtdemoError as error:
        print(f"{error.what}\n{error.remedy}", flush=True)
