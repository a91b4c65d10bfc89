"""Every template, run with one step: those for a checkpoint with a random one of full size, which
ComfyUI's own loader has to recognise."""

import pytest
import templates
from full_size import write_checkpoint, write_lora
from graphs import options, run, token_file
from test_templates import widgets

CHECKPOINT, LORA = "random-sd15.safetensors", "random-lora.safetensors"
SIDE = 64
SECONDS = 600

# Of the templates' own values, those that would take long or name a user's files.
CHANGED = {
    "CheckpointLoaderSimple": {"ckpt_name": CHECKPOINT},
    "LoraLoader": {"lora_name": LORA},
    "PersonalizeZO": {"steps": 1},
    "KSampler": {"steps": 1},
}
SMALL = {"EmptyLatentImage": {"width": SIDE, "height": SIDE}}


@pytest.fixture(scope="module")
def serving(shared_comfy):
    """The ComfyUI that the tests share, with the checkpoint and the LoRA in its folders."""
    models = shared_comfy.base / "models"
    for folder, name, write in (
        ("checkpoints", CHECKPOINT, write_checkpoint),
        ("loras", LORA, write_lora),
    ):
        (models / folder).mkdir(parents=True, exist_ok=True)
        write(models / folder / name)
    yield shared_comfy
    shared_comfy.free()
    (models / "checkpoints" / CHECKPOINT).unlink()
    (models / "loras" / LORA).unlink()


def prompt_of(comfy, name: str) -> dict:
    """A template with little to do."""
    kinds = comfy.get("/object_info")
    prompt = templates.as_prompt(
        templates.load(name), lambda kind: [widget for widget, _ in widgets(kinds[kind])]
    )
    full = name not in templates.RUNNABLE
    changed = CHANGED | (SMALL if full else {})
    for number, each in list(prompt.items()):
        each["inputs"] |= changed.get(each["class_type"], {})
        if each["class_type"] == "PersonalizeZO" and full:
            each["inputs"]["options"] = [f"{number}0", 0]
            prompt[f"{number}0"] = options(resolution=SIDE)
    return prompt


@pytest.mark.parametrize("name", templates.NAMES)
def test_a_template_runs(serving, name):
    seen = len(serving.log)
    ran = run(serving, prompt_of(serving, name), seconds=SECONDS)
    assert ran.end == "success", ran.data.get("exception_message")
    pictures = [each for each in ran.outputs.values() if each.get("images")]
    assert pictures, ran.outputs
    ends = [payload for payload in ran.progress if payload["state"] == "finished"]
    kinds = [each["type"] for each in templates.load(name)["nodes"]]
    assert len(ends) == kinds.count("PersonalizeZO")
    for payload in ends:
        assert token_file(serving, payload["id"]).is_file()
    log = serving.log[seen:]
    assert "lora key not loaded" not in log and "Traceback" not in log
