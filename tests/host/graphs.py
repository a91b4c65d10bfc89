"""Prompts in ComfyUI's API format, and what became of them."""

import hashlib
import io
import json
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from comfy import REPOSITORY, Comfy
from PIL import Image

SETTINGS = REPOSITORY / "node" / "settings.json"
NODES = REPOSITORY / "locales" / "en" / "nodeDefs.json"
DEMO = "zoodip demo/blue_spotted_dog"
ENDED = ("finished", "stopped", "interrupted", "failed", "reused")


def node(kind: str, /, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def training(steps: int = 20, word="zwx", /, **changed) -> dict:
    """The demo model and pictures (nodes 1 and 2), Personalize (3) and what shows its token (9).

    changed: inputs of Personalize in place of these.
    """
    inputs = {
        "model": ["1", 0],
        "clip": ["1", 1],
        "vae": ["1", 2],
        "images": ["2", 0],
        "captions": ["2", 1],
        "word": word,
        "initialiser": "dog",
        "steps": steps,
        "precision": "int8",
        "train_seed": 0,
    }
    return {
        "1": node("LoadDemoModelZO"),
        "2": node("LoadTrainingImagesZO", folder=DEMO, size=128, caption="a photo of a {}"),
        "3": node("PersonalizeZO", **{**inputs, **changed}),
        "9": node("TokenInfoZO", token=["3", 1]),
    }


def options(**changed) -> dict:
    """Training Options (ZO), all at their defaults but those changed."""
    declared = {field["name"]: field["default"] for field in json.loads(SETTINGS.read_text())}
    defaults = {**declared, "preview_percent": 5.0}
    names = json.loads(NODES.read_text())["TrainingOptionsZO"]["inputs"]
    values = {name: defaults[name] for name in names}
    assert changed.keys() <= values.keys()
    return node("TrainingOptionsZO", **{**values, **changed})


def states(clip: list, text: str) -> dict:
    """A node that answers the hash of a text's states by a CLIP."""
    return node("ZTestTextStates", clip=clip, text=text)


def sampled(prompt: dict, start: int, text: str, clip: list, steps: int = 3) -> dict:
    """`prompt` and nodes from number `start` on that draw one picture of a text; the last one,
    `start` + 5, saves it."""
    at = [str(start + i) for i in range(6)]
    return prompt | {
        at[0]: node("CLIPTextEncode", clip=clip, text=text),
        at[1]: node("CLIPTextEncode", clip=clip, text=""),
        at[2]: node("EmptyLatentImage", width=128, height=128, batch_size=1),
        at[3]: node(
            "KSampler",
            model=["1", 0],
            positive=[at[0], 0],
            negative=[at[1], 0],
            latent_image=[at[2], 0],
            seed=1,
            steps=steps,
            cfg=5.0,
            sampler_name="dpmpp_2m",
            scheduler="normal",
            denoise=1.0,
        ),
        at[4]: node("VAEDecode", samples=[at[3], 0], vae=["1", 2]),
        at[5]: node("SaveImage", images=[at[4], 0], filename_prefix=f"picture{start}"),
    }


@dataclass
class Ran:
    """What became of a prompt."""

    comfy: Comfy = field(repr=False)
    prompt_id: str
    end: str
    """"success", "error" or "interrupted"."""
    data: dict
    """Of the message that it ended with."""
    progress: list[dict]
    """The payloads of zoodip.progress, each with the state that a node's panel names."""
    executed: list[str]
    """The nodes that ran; a cached one did not."""

    @property
    def outputs(self) -> dict:
        return self.comfy.wait(self.prompt_id, 30)["outputs"]  # it comes after the event

    def text(self, number: str) -> str:
        """What a node said."""
        return self.outputs[number]["zoodip_text"][0]

    def pixels(self, number: str) -> np.ndarray:
        """uint8 [height, width, 3] of the picture that a node saved."""
        image = self.outputs[number]["images"][0]
        return np.array(Image.open(io.BytesIO(self.comfy.get(f"/view?{_query(image)}"))))

    @property
    def message(self) -> str:
        """That of the error that the prompt ended with; checked to be made for people."""
        assert self.end == "error", f"ended with {self.end}"
        message = self.data["exception_message"].rstrip("\n")
        assert message and "\n" not in message and "Traceback" not in message, message
        assert len(message) < 700, message
        return message


def _query(image: dict) -> str:
    return urllib.parse.urlencode({key: image[key] for key in ("filename", "subfolder", "type")})


def run(comfy: Comfy, prompt: dict, workflow: str = "workflow-1", on=None, seconds=300) -> Ran:
    """Queues a prompt and waits until it ends.

    on: called with every payload of zoodip.progress.
    """
    with comfy.events() as events:
        prompt_id = comfy.queue(prompt, events.client_id, {"id": workflow})
        return followed(comfy, events, prompt_id, on, seconds)


def followed(comfy: Comfy, events, prompt_id: str, on=None, seconds=300) -> Ran:
    """Waits until a queued prompt ends."""
    progress, executed = [], []

    def ended(message: dict) -> bool:
        kind, data = message["type"], message["data"]
        if kind == "zoodip.progress" and (data["graph"] or {}).get("prompt") == prompt_id:
            data |= {"state": shown_state(data)}
            progress.append(data)
            if on is not None:
                on(data)
        if data.get("prompt_id") != prompt_id:
            return False
        if kind == "executing" and data.get("node"):
            executed.append(data["node"])
        return kind in ("execution_success", "execution_error", "execution_interrupted")

    last = events.until(ended, seconds)
    end = last["type"].removeprefix("execution_")
    return Ran(comfy, prompt_id, end, last["data"], progress, executed)


def shown_state(job: dict) -> str:
    """What a node's panel says of a job; web/panel.js has the same."""
    if job["state"] in ("queued", "running"):
        stepping = job["state"] == "running" and job["stage"] in ("training", "stopping")
        return "training" if stepping else "preparing"
    return "reused" if job["reused"] and job["state"] == "finished" else job["state"]


def job_with_curve(comfy: Comfy, key: str) -> dict:
    return comfy.get(f"/zoodip/v1/jobs/{key}/curve")


def node_job(comfy: Comfy, workflow: str) -> dict:
    """What the Personalize node of a workflow shows."""
    [job] = comfy.get(f"/zoodip/v1/jobs?node=3&workflow={workflow}")["jobs"]
    return job_with_curve(comfy, job["id"])


def succeeded(comfy: Comfy, prompt: dict, **how) -> Ran:
    ran = run(comfy, prompt, **how)
    assert ran.end == "success", ran.data.get("exception_message", ran.end)
    return ran


def runs_folder(comfy: Comfy) -> Path:
    return comfy.base / "user" / "zoodip" / "runs"


def token_file(comfy: Comfy, key: str) -> Path:
    return runs_folder(comfy) / key / "token.safetensors"


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def trained_steps(ran: Ran) -> list[int]:
    """The steps that were made, as the page was told: of reported points, in order."""
    return [point[0] for payload in ran.progress for point in payload["points"]]
