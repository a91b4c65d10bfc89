"""A real ComfyUI for tests: started, asked over HTTP and websocket, ended.

Imports nothing of ComfyUI; needs `websocket-client` beside the standard library.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = "ComfyUI-ZOODiP"
HOW_TO_RUN = (
    "needs a ComfyUI: set COMFYUI_DIR to its checkout, and COMFYUI_PYTHON to its Python if that is "
    "neither .venv nor venv there; that Python also needs pytest, playwright and websocket-client"
)

START_SECONDS = 240
STOP_SECONDS = 30
POLL_SECONDS = 0.2


def comfyui_dir() -> Path | None:
    """The checkout that COMFYUI_DIR names, or None when the tests are to be skipped."""
    named = os.environ.get("COMFYUI_DIR")
    return Path(named).resolve() if named else None


def comfyui_python(checkout: Path) -> str:
    """COMFYUI_PYTHON, else the environment in the checkout, else the Python that runs this."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        return named
    for folder in (".venv", "venv"):
        for program in ("bin/python", "Scripts/python.exe"):
            if (checkout / folder / program).exists():
                return str(checkout / folder / program)
    return sys.executable


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds: float, what: str):
    """The first true answer of `condition()`; TimeoutError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_SECONDS)


# Newer hosts colour what they log and put its level before it.
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_LINE = re.compile(r"(?:\[([A-Z]+)\] )?(.+)")


def logged(log: str) -> list[tuple[str, str]]:
    """The lines of a host's log, each as its level, "" where the host says none, and its text."""
    return _LINE.findall(_COLOUR.sub("", log))


class Events:
    """The websocket of one client: messages {"type": str, "data": dict} in order of arrival."""

    def __init__(self, url: str):
        # Here, because collecting tests that will be skipped must not need it.
        import websocket

        self._timeout = websocket.WebSocketTimeoutException
        self.client_id = uuid.uuid4().hex
        address = url.replace("http://", "ws://", 1)
        self._socket = websocket.create_connection(f"{address}/ws?clientId={self.client_id}")
        self.seen: list[dict] = []
        self.binary: list[bytes] = []

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_):
        self._socket.close()

    def tell(self, kind: str, data: dict):
        """Sends a message to the server."""
        self._socket.send(json.dumps({"type": kind, "data": data}))

    def next(self, seconds: float = 60) -> dict:
        """The next text message; binary ones (previews) go to `binary`. TimeoutError after it."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no websocket message within {seconds:g} s")
            self._socket.settimeout(left)
            try:
                message = self._socket.recv()
            except self._timeout:
                continue
            if isinstance(message, str):
                self.seen.append(json.loads(message))
                return self.seen[-1]
            self.binary.append(message)

    def until(self, condition, seconds: float = 120) -> dict:
        """Reads until `condition(message)` is true, and returns that message."""
        deadline = time.monotonic() + seconds
        while True:
            message = self.next(max(0.0, deadline - time.monotonic()))
            if condition(message):
                return message

    def ended(self, prompt_id: str, seconds: float = 300) -> dict:
        """The message with which the prompt ended: success, error or interrupted."""
        ends = ("execution_success", "execution_error", "execution_interrupted")
        return self.until(
            lambda m: m["type"] in ends and m["data"].get("prompt_id") == prompt_id, seconds
        )


class Comfy:
    """One ComfyUI process with this package as its only custom node.

    ZOODIP_PACKAGE names another folder to test instead of this checkout: an unpacked release.
    """

    def __init__(self, base: Path):
        self.base = Path(base)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = self.base / "comfyui.log"
        self.process: subprocess.Popen | None = None

    @classmethod
    def start(
        cls, base: Path, extra_args: tuple[str, ...] = (), env: dict | None = None
    ) -> "Comfy":
        """Starts ComfyUI in the folder `base` and returns when it answers.

        Started again on the same `base` it finds what the earlier one kept there.
        Raises RuntimeError with the end of the log when it ends or does not answer.
        """
        comfy = cls(base)
        comfy._link_package()
        comfy._spawn(extra_args, env or {})
        try:
            wait_for(comfy._answers, START_SECONDS, "ComfyUI's first answer")
        except (TimeoutError, RuntimeError) as error:
            comfy.stop()
            raise RuntimeError(f"{error}; the end of its log:\n{comfy.log_tail()}") from error
        return comfy

    def _link_package(self):
        for folder in ("custom_nodes", "input", "output", "models/embeddings", "user"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        link = self.base / "custom_nodes" / PACKAGE
        if not link.exists():
            package = Path(os.environ.get("ZOODIP_PACKAGE") or REPOSITORY).resolve()
            link.symlink_to(package, target_is_directory=True)

    def _spawn(self, extra_args, env):
        checkout = comfyui_dir()
        command = [comfyui_python(checkout), "main.py", "--cpu", "--listen", "127.0.0.1"]
        command += ["--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACKAGE]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *extra_args],
                cwd=checkout,
                # Threads that wait must not spin: tests share the cores with a browser.
                env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell starts what it puts into the background with SIGINT ignored.
                preexec_fn=_heed_interrupts if os.name == "posix" else None,
            )

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with code {self.process.returncode}")
        try:
            self.get("/system_stats")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def stop(self):
        """Ends the process the way a service manager does, and by force if that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.splitlines()[-lines:])

    def request(self, path: str, body=None, method: str | None = None):
        """The JSON (or bytes) at `path`; urllib.error.HTTPError for a status of 400 and more."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as reply:
            content = reply.read()
            if "json" in reply.headers.get("Content-Type", ""):
                return json.loads(content)
            return content

    def get(self, path: str):
        return self.request(path)

    def post(self, path: str, body=None):
        return self.request(path, {} if body is None else body, "POST")

    def delete(self, path: str):
        return self.request(path, method="DELETE")

    def queue(
        self, prompt: dict, client_id: str | None = None, workflow: dict | None = None
    ) -> str:
        """Queues an API-format prompt and returns its id; HTTPError 400 when it is refused."""
        body = {"prompt": prompt}
        if client_id:
            body["client_id"] = client_id
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        return self.post("/prompt", body)["prompt_id"]

    def history(self, prompt_id: str) -> dict | None:
        """What became of a prompt; None while it has not ended."""
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def wait(self, prompt_id: str, seconds: float = 300) -> dict:
        """The history entry of a prompt once it has ended."""
        return wait_for(lambda: self.history(prompt_id), seconds, f"the end of prompt {prompt_id}")

    def idle(self) -> bool:
        queue = self.get("/queue")
        return not queue["queue_running"] and not queue["queue_pending"]

    def interrupt(self):
        self.post("/interrupt")

    def free(self, unload_models: bool = True, free_memory: bool = True):
        self.post("/free", {"unload_models": unload_models, "free_memory": free_memory})

    def events(self) -> Events:
        """A websocket of its own; pass its `client_id` to `queue` to get that prompt's messages."""
        return Events(self.url)


def chromium() -> str | None:
    """The browser: CHROMIUM, else Debian's, else the one on the path."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    if Path("/usr/bin/chromium").exists():
        return "/usr/bin/chromium"
    return shutil.which("chromium") or shutil.which("chromium-browser")
