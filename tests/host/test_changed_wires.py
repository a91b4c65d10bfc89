"""Wires that compute something else with the same weights: a word that was learned on the plain
ones is not theirs, and must not be taken from the store for them."""

import pytest
from demo_lora import lora_file
from graphs import node, run, sampled, succeeded, training

STEPS, WORD = 4, "plain"
SLOTS = {"model": 0, "clip": 1, "vae": 2}
TESTS = {"model": "ZTestModel", "clip": "ZTestClip", "vae": "ZTestVae"}

# Wire and kind of change -> what the message has to name.
CHANGES = {
    ("model", "injection"): "the injection zoodip_test",
    ("model", "weight function"): "the weight function of",
    ("model", "forward hook"): "the forward pass of out.2",
    ("model", "replaced method"): "apply_model",
    ("clip", "injection"): "the injection zoodip_test",
    ("clip", "weight function"): "the weight function of",
    ("clip", "replaced method"): "encode_from_tokens",
    ("vae", "injection"): "the injection zoodip_test",
    ("vae", "replaced method"): "encode",
}


@pytest.fixture(scope="module")
def plain(shared_comfy):
    """A word that is learned and stored."""
    ran = succeeded(shared_comfy, training(STEPS, WORD))
    assert ran.progress[-1]["state"] in ("finished", "reused")
    return ran


def refused(comfy, prompt: dict) -> str:
    ran = run(comfy, prompt)
    assert all(payload["state"] == "failed" for payload in ran.progress[-1:])
    assert ran.data["node_type"] == "PersonalizeZO"
    return ran.message


@pytest.mark.parametrize(("wire", "kind"), CHANGES)
def test_a_wire_that_computes_otherwise_is_refused_by_name(plain, wire, kind):
    prompt = training(STEPS, WORD, **{wire: ["5", 0]})
    prompt["5"] = node(TESTS[wire], **{wire: ["1", SLOTS[wire]], "kind": kind})
    message = refused(plain.comfy, prompt)
    assert message.startswith(f"{wire.upper()}: carries patches")
    assert CHANGES[wire, kind] in message


def test_another_class_that_encodes_is_not_taken_for_the_plain_one(plain):
    """It is asked for its latents, which the self-check compares."""
    prompt = training(STEPS, WORD, vae=["5", 0])
    prompt["5"] = node("ZTestVae", vae=["1", 2], kind="wrong scale")
    assert "self-check: latents" in refused(plain.comfy, prompt)


def bypass_lora(comfy) -> dict:
    if "LoraLoaderBypass" not in comfy.get("/object_info"):
        pytest.skip("this ComfyUI has no bypass LoRA")
    return node(
        "LoraLoaderBypass",
        model=["1", 0],
        clip=["1", 1],
        lora_name=lora_file(comfy, "bypass.safetensors", 2),
        strength_model=1.0,
        strength_clip=1.0,
    )


@pytest.mark.parametrize("wire", ["model", "clip"])
def test_a_bypass_lora_is_refused_with_what_to_use(plain, wire):
    prompt = training(STEPS, WORD, **{wire: ["5", SLOTS[wire]]})
    prompt["5"] = bypass_lora(plain.comfy)
    message = refused(plain.comfy, prompt)
    assert message.startswith(f"{wire.upper()}: ")
    assert "bypass_lora" in message and "Load LoRA" in message


def test_what_another_wire_has_put_in_is_taken_out_first(plain):
    """The two share their layers, in which the bypass LoRA still is after it was drawn with."""
    prompt = {"1": node("LoadDemoModelZO"), "5": bypass_lora(plain.comfy)}
    drawn = sampled(prompt, 20, "a dog", ["5", 1], steps=1)
    drawn["23"]["inputs"]["model"] = ["5", 0]
    succeeded(plain.comfy, drawn)
    ran = succeeded(plain.comfy, {**training(STEPS, "shared"), **prompt, **drawn})
    assert ran.progress[-1]["state"] in ("finished", "reused")


@pytest.mark.parametrize("scheduled", [False, True])
def test_hooks_on_the_clip_are_refused(plain, scheduled):
    prompt = training(STEPS, WORD, clip=["6", 0])
    prompt["5"] = node(
        "CreateHookLora",
        lora_name=lora_file(plain.comfy, "hook.safetensors", 3),
        strength_model=1.0,
        strength_clip=1.0,
    )
    prompt["6"] = node(
        "SetClipHooks",
        clip=["1", 1],
        hooks=["5", 0],
        apply_to_conds=True,
        schedule_clip=scheduled,
    )
    message = refused(plain.comfy, prompt)
    assert message.startswith("CLIP: ") and "hooks" in message
