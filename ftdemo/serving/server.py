"""One server, for a demo alone or for the site with all demos. By default it listens on this machine only."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from ftdemo.errors import STOPPED_BY_CTRL_C, FtdemoError, ServerError, UsageError
from ftdemo.training.hardware import give_memory_back
from ftdemo.ui import SITE
from ftdemo.ui.limits import PUBLIC

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

_PACKAGE = Path(__file__).parents[1]
_DEMO_FOLDERS = (_PACKAGE / "_demos", _PACKAGE.parent / "demos")
"""In an installed package, and in a checkout of the repository."""
_SHUTDOWN_SECONDS = 2
"""How long Ctrl-C waits for open connections: a demo's page holds one open for as long as it is shown."""
STUDIO = "studio"
"""The demo that holds all others."""
_NETWORK_SETTINGS = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
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
        raise UsageError(f"There is no demo called {name}.", f"The demos are: {', '.join(demo_names())}.")
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
        import_gradio()
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ServerError(f"Demos need the package {error.name}.", "Run `pip install 'ftdemo[demos]'`.") from None
    return module


def import_gradio() -> None:
    """Import Gradio, whatever the environment says about proxies and certificates.

    While it is imported, Gradio makes clients of the network, which no demo uses. They refuse settings that other
    programs accept, such as a SOCKS proxy or a bracketed address in ``no_proxy``, and Gradio could not be imported.

    Raises:
        ModuleNotFoundError: If Gradio is not installed.
    """
    hidden = {name: value for name, value in os.environ.items() if name.upper() in _NETWORK_SETTINGS}
    for name in hidden:
        del os.environ[name]
    try:
        import gradio  # noqa: F401
    finally:
        os.environ.update(hidden)


def serve(make_app: Callable[[], FastAPI], host: str, port: int, *, public: bool = False) -> None:
    """Serve a web application until Ctrl-C, which ends this process as soon as visitors' files are removed.

    Args:
        make_app: Builds the application, once the port is taken: `demo_app`, `site_app` or `page_app`.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        public: Whether strangers may visit: then each run is bounded. Any host other than this machine implies it.

    Raises:
        ServerError: If the port is taken, or a library is missing.
    """
    try:
        import uvicorn
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        import_gradio()
    except ModuleNotFoundError as error:
        raise ServerError(f"Serving needs the package {error.name}.", "Run `pip install 'ftdemo[demos]'`.") from None
    if public or host not in _LOCAL_NAMES:
        os.environ[PUBLIC] = "1"  # the demos read it when they are loaded
    listener = _listen(host, port)
    app = make_app()
    if host in _LOCAL_NAMES:  # another site's page may not reach this one by giving its name a local address
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL_NAMES))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_SECONDS)
    _announced_server(config, f"http://{host}:{listener.getsockname()[1]}").run(sockets=[listener])


def _announced_server(config: uvicorn.Config, address: str) -> uvicorn.Server:
    """A server that prints its address once it is ready, and removes visitors' files when it ends."""
    import uvicorn

    from ftdemo.ui import sessions

    # A closed terminal ends the server like SIGTERM, which uvicorn handles: visitors' files are removed.
    is_main = threading.current_thread() is threading.main_thread()  # no other may handle signals
    ends_on_hangup = is_main and hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL

    class AnnouncedServer(uvicorn.Server):
        """Prints its address when it starts, and removes visitors' files when it ends."""

        is_interrupted = False

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Note whether Ctrl-C ends the server, and end it."""
            self.is_interrupted |= sig == signal.SIGINT
            super().handle_exit(sig, frame)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Start, print the address, and load what the first visitor would otherwise wait for."""
            await super().startup(sockets)
            if ends_on_hangup:
                signal.signal(signal.SIGHUP, self.handle_exit)
            print(f"Ready at {address}/ (Ctrl-C stops it)", flush=True)
            threading.Thread(target=_warm_up, daemon=True).start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Stop, and remove visitors' files; after Ctrl-C, end the process at once."""
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # pages left open are cut off: no error
            await super().shutdown(sockets)
            sessions.remove_all()
            if ends_on_hangup:
                signal.signal(signal.SIGHUP, signal.SIG_DFL)  # uvicorn raises it again when all is done
            if self.is_interrupted:
                # Nothing more must be dismantled: a thread that still computes may crash it.
                print("Stopped.", file=sys.stderr, flush=True)
                os._exit(STOPPED_BY_CTRL_C)

    return AnnouncedServer(config)


def demo_app(name: str) -> FastAPI:
    """One demo; the root of the address leads to it.

    Args:
        name: The demo's name, or `STUDIO` for all of them.

    Raises:
        UsageError: If there is no such demo.
        ServerError: If a library is missing.
    """
    if name == STUDIO:  # its routes are at the root
        return _mount(_bare_app(), load_demo(name).build(), "/")
    return _mount_demo(_bare_app(redirect=f"/demos/{name}/"), name)


def site_app(site: Path) -> FastAPI:
    """The built site at ``/`` and each demo at ``/demos/<name>/``, and nothing else of this disk.

    Raises:
        UsageError: If the site has not been built.
        ServerError: If a library is missing.
    """
    from fastapi.staticfiles import StaticFiles

    os.environ[SITE] = "/"  # a demo's link to its page stays here
    if not (site / "index.html").is_file():
        raise UsageError(f"There is no built site in {site}.", "Build it first: `make site`.")
    app = _bare_app(icon="/assets/favicon.svg")
    for name in demo_names():
        if name != STUDIO:
            _mount_demo(app, name)
    app.mount("/", StaticFiles(directory=site, html=True), name="site")
    return app


def page_app(build: Callable[[], Any]) -> FastAPI:
    """A page that is not a demo; the root of the address leads to it.

    Args:
        build: Makes the page, as Gradio's blocks.
    """
    return _mount(_bare_app(redirect="/judge/"), build(), "/judge")


def _mount_demo(app: FastAPI, name: str) -> FastAPI:
    return _mount(app, load_demo(name).build(), f"/demos/{name}")


def _mount(app: FastAPI, blocks: Any, path: str) -> FastAPI:
    import gradio as gr

    from ftdemo.ui import theme

    warnings.filterwarnings("ignore", message=".* gr.State input", module="gradio")  # ours keep their first value
    settings = theme.launch_settings()
    return gr.mount_gradio_app(app, blocks, path=path, show_error=True, **settings)  # type: ignore[no-any-return]


def _bare_app(*, redirect: str | None = None, icon: str | None = None) -> FastAPI:
    """An application without pages of its own.

    Args:
        redirect: The page that the root of the address leads to.
        icon: The address of the icon that every browser requests, if there is one.
    """
    from fastapi import FastAPI
    from fastapi.responses import RedirectResponse, Response

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route(
        "/favicon.ico", lambda: RedirectResponse(icon) if icon else Response(status_code=204), methods=["GET"]
    )
    if redirect:
        app.add_api_route("/", lambda: RedirectResponse(redirect), methods=["GET"])
    return app


def free_port(host: str, port: int) -> int:
    """This port, or any free one for 0, for a program that starts slowly and reports a taken port late.

    Raises:
        ServerError: If the port is taken, or the address cannot be had.
    """
    with _listen(host, port) as listener:
        return int(listener.getsockname()[1])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything slow happens.

    Raises:
        ServerError: If the address cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None)
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        what = f"The server cannot listen on {host}:{port}: {why}."
        raise ServerError(what, _LISTEN_ELSEWHERE.get(code, "Name an address of this machine with `--host`.")) from None


_LISTEN_ELSEWHERE: dict[int | None, str] = {
    errno.EADDRINUSE: "Another program uses it. Choose another port, or take any free one with `--port 0`.",
    errno.EACCES: "It needs administrator rights. Choose a port from 1024 to 65535, or any free one with `--port 0`.",
}
"""What to do if the system refuses an address for one of these reasons."""


def _warm_up() -> Any:
    """Load the model, evaluate it and time a few steps before the first visitor comes."""
    from ftdemo.recipe import named
    from ftdemo.ui.compute import predicted_seconds

    try:
        for method in ("lora", "full"):
            predicted_seconds(named(method, "tiny"))
        give_memory_back()
    except FtdemoError as error:
        print(f"{error.what}\n{error.remedy}", flush=True)
