"""Every failure is one sentence in the node's error box: what, why, what to do."""

import json
import os
import struct
import subprocess
import urllib.error

import numpy as np
import pytest
import torch
from comfy import REPOSITORY
from graphs import node, options, run, states, succeeded, training
from PIL import Image
from safetensors.torch import save_file

CHECKPOINT = REPOSITORY / "demo" / "model" / "zoodip-demo.safetensors"


def via(kind: str, slot: int, name: str, what: str) -> dict:
    """A training whose wire `name` goes through a test node first."""
    prompt = training(5, "bad", **{name: ["5", 0]})
    prompt["5"] = node(kind, **{name: ["1", slot], "kind": what})
    return prompt


def pictures(kind: str) -> dict:
    prompt = training(5, "bad", images=["5", 0], captions="a photo of a {}")
    return prompt | {"5": node("ZTestImages", kind=kind)}


def sampling(kind: str, **more) -> dict:
    prompt = training(5, "bad", model=["5", 0])
    return prompt | {"5": node(kind, model=["1", 0], **more)}


def with_options(**changed) -> dict:
    return training(5, "bad", options=["4", 0]) | {"4": options(**changed)}


LONG = "a photo of a {} " + "and a dog " * 30

# What is wrong -> the prompt, and what its message has to say.
FAILURES = {
    "no word in the caption": (
        training(5, "bad", captions="a photo of a dog"),
        ["'a photo of a dog'", "does not contain the word", "{}"],
    ),
    "captions that do not match": (
        training(5, "bad", captions="a {}\nthe {}"),
        ["2 captions", "5 pictures", "one line for each"],
    ),
    "no captions": (training(5, "bad", captions=" \n"), ["0 captions", "5 pictures"]),
    "a long caption": (training(5, "bad", captions=LONG), ["tokens", "75", "shorten it"]),
    "an embedding that is not there": (
        training(5, "bad", captions="a {} and embedding:nowhere"),
        ["embedding:nowhere", "no such embedding"],
    ),
    "an initialiser of several tokens": (
        training(5, "bad", initialiser="wobbly teapot"),
        ["'wobbly'", "2 tokens", "single", "plainer word"],
    ),
    "no initialiser": (training(5, "bad", initialiser="  "), ["initialiser", "needs a word"]),
    "fewer vectors than initialisers": (
        training(5, "bad", initialiser="blue dog", options=["4", 0]) | {"4": options(vectors=1)},
        ["vectors", "2 words of the initialiser", "got 1"],
    ),
    "a word with a space": (training(5, "two words"), ["'two words'", "letters, digits"]),
    "a word that is a number": (training(5, "1e5"), ["'1e5'", "number"]),
    "no word": (training(5, ""), ["''", "letters, digits"]),
    "a picture of NaN": (pictures("nan"), ["picture 1", "NaN"]),
    "no pictures": (pictures("empty"), ["no pictures"]),
    "a picture of one pixel": (pictures("one pixel"), ["1 x 1", "8 pixels"]),
    "a picture of one channel": (pictures("one channel"), ["(64, 64, 1)", "Load Image"]),
    "a mask": (pictures("mask"), ["(1, 64, 64)", "red, green and blue"]),
    "float8 weights": (via("ZTestModel", 0, "model", "float8"), ["MODEL", "float8", "to_k"]),
    "float8 text weights": (via("ZTestClip", 1, "clip", "float8"), ["CLIP", "float8", "fc1"]),
    "quantised weights": (via("ZTestModel", 0, "model", "quantised"), ["MODEL", "Quantised"]),
    "weights that are nowhere": (via("ZTestModel", 0, "model", "meta"), ["MODEL", "weights"]),
    "weights of NaN": (via("ZTestModel", 0, "model", "nan"), ["to_k", "NaN"]),
    "an inpainting model": (
        via("ZTestModel", 0, "model", "inpaint"),
        ["inpaint", "Stable Diffusion"],
    ),
    "an attention patch": (
        via("ZTestModel", 0, "model", "attention patch"),
        ["MODEL", "attn2", "before the node"],
    ),
    "a wrapped forward pass": (via("ZTestModel", 0, "model", "wrapper"), ["MODEL", "before"]),
    "a function wrapper": (
        via("ZTestModel", 0, "model", "function wrapper"),
        ["MODEL", "model_function_wrapper", "before the node"],
    ),
    "FreeU": (
        sampling("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2),
        ["MODEL", "output_block_patch", "before the node"],
    ),
    "another family": (
        via("ZTestModel", 0, "model", "other family"),
        ["MODEL", "not supported", "Stable Diffusion 1.x"],
    ),
    "64 channels a head": (
        via("ZTestModel", 0, "model", "64 channels a head"),
        ["self-check", "MODEL", "%"],
    ),
    "no model": (via("ZTestModel", 0, "model", "none"), ["MODEL", "empty"]),
    "no clip": (via("ZTestClip", 1, "clip", "none"), ["CLIP", "empty"]),
    "no vae": (via("ZTestVae", 2, "vae", "none"), ["VAE", "empty"]),
    "LCM": (
        sampling("ModelSamplingDiscrete", sampling="lcm", zsnr=False),
        ["LCM", "eps and v_prediction"],
    ),
    "x0": (
        sampling("ModelSamplingDiscrete", sampling="x0", zsnr=False),
        ["X0", "eps and v_prediction"],
    ),
    "EDM": (
        sampling(
            "ModelSamplingContinuousEDM",
            sampling="edm",
            sigma_max=120.0,
            sigma_min=0.002,
        ),
        ["EDM", "eps and v_prediction"],
    ),
    "eps of continuous time": (
        sampling(
            "ModelSamplingContinuousEDM",
            sampling="eps",
            sigma_max=120.0,
            sigma_min=0.002,
        ),
        ["ModelSamplingContinuousEDM", "eps and v_prediction"],
    ),
    "an SDXL-like CLIP": (
        via("ZTestClip", 1, "clip", "sdxl-like"),
        ["MODEL and CLIP", "different families", "Stable Diffusion XL"],
    ),
    "a VAE of another family": (
        training(5, "bad", vae=["5", 0]) | {"5": node("VAELoader", vae_name="pixel_space")},
        ["VAE", "PixelspaceConversionVAE", "TAESD"],
    ),
    "latents of another family": (
        via("ZTestVae", 2, "vae", "16 channels"),
        ["VAE", "16 channels in place of 4", "Stable Diffusion checkpoint"],
    ),
    "a LoRA that is left out": (via("ZTestModel", 0, "model", "hidden lora"), ["MODEL", "%"]),
    "a text LoRA that is left out": (via("ZTestClip", 1, "clip", "hidden lora"), ["CLIP", "%"]),
    "v taken for eps": (via("ZTestModel", 0, "model", "v taken for eps"), ["MODEL", "%"]),
    "clip skip taken for none": (
        via("ZTestClip", 1, "clip", "skip 2 taken for last"),
        ["CLIP", "%"],
    ),
    "a wrong scale of latents": (via("ZTestVae", 2, "vae", "wrong scale"), ["VAE", "%"]),
    "timesteps in the wrong order": (
        with_options(t_lower=900, t_upper=500),
        ["t_lower", "t_upper"],
    ),
    "a method that is none": (
        with_options(method="magic"),
        ["method: needs one of rge, spsa, one_point, exact, auto; got 'magic'"],
    ),
    "related words that are none": (
        with_options(directions="related"),
        ["related_words", "got none"],
    ),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failed_training_says_so_in_a_sentence(comfy, what):
    prompt, said = FAILURES[what]
    comfy.delete("/zoodip/v1/store")  # what has been learned is not looked at again
    ran = run(comfy, prompt)
    message = ran.message
    print(message)
    for part in said:
        assert part in message, f"no {part!r} in: {message}"
    says_it = "TrainingOptionsZO" if what == "a method that is none" else "PersonalizeZO"
    assert ran.data["node_type"] == says_it
    # Where the page had heard of it, it hears of the end.
    if ran.progress:
        assert ran.progress[-1]["state"] == "failed"
        assert ran.progress[-1]["message"] == message


@pytest.mark.parametrize(("word", "known"), [("cat", True), ("a", True), ("sks", False)])
def test_a_word_that_the_model_knows_is_warned_of(comfy, word, known):
    comfy.delete("/zoodip/v1/store")
    before = len(comfy.log)
    succeeded(comfy, training(2, word))
    assert (f"'{word}' is an ordinary word" in comfy.log[before:]) == known


def test_an_empty_caption_of_a_list_is_that_of_its_picture(comfy):
    prompt = training(2, "listed", captions=["5", 0])
    prompt["5"] = node("ZTestCaptionList", captions="\n\na red {}\n\n")
    assert "pictures: 5 (a photo of a {}; a red {})" in succeeded(comfy, prompt).text("9")
    prompt["5"]["inputs"]["captions"] = "\na red {}\n\n"
    message = run(comfy, prompt).message
    assert "4 captions for 5 pictures" in message


def test_after_a_failure_all_is_well(comfy):
    comfy.delete("/zoodip/v1/store")
    assert run(comfy, FAILURES["a LoRA that is left out"][0]).end == "error"
    assert succeeded(comfy, training(3, "good")).progress[-1]["state"] == "finished"


def test_a_failure_of_the_self_check_can_be_queued_again(comfy):
    """It must fail again, not be taken for an unfinished run."""
    comfy.delete("/zoodip/v1/store")
    prompt, _ = FAILURES["a wrong scale of latents"]
    first, second = run(comfy, prompt), run(comfy, prompt)
    assert first.message == second.message


@pytest.mark.parametrize(
    "changed",
    [
        {"clip": ["1", 2]},
        {"vae": ["1", 1]},
        {"images": ["1", 0]},
        {"options": ["1", 0]},
        {"steps": -1},
        {"train_seed": -1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_wrong_links_and_values_are_refused_when_queued(comfy, changed):
    with pytest.raises(urllib.error.HTTPError) as refused:
        comfy.queue(training(5, "bad", **changed))
    assert refused.value.code == 400
    problems = json.loads(refused.value.read())["node_errors"]["3"]["errors"]
    assert next(iter(changed)) in str(problems)


def told(comfy, prompt: dict, number: str) -> str:
    """What is said against node `number` when the prompt is queued, or, by hosts that do not look
    then, when it runs."""
    try:
        return run(comfy, prompt).message
    except urllib.error.HTTPError as refused:
        return str(json.loads(refused.read())["node_errors"][number]["errors"])


@pytest.mark.parametrize("changed", [{"n": 65}, {"nu": 1.5}, {"vectors": -1}], ids=str)
def test_options_out_of_range_are_refused(comfy, changed):
    assert next(iter(changed)) in told(comfy, with_options(**changed), "4")


def test_an_option_by_a_wrong_name_is_refused(comfy):
    prompt = with_options()
    inputs = prompt["4"]["inputs"]
    inputs["nn"] = inputs.pop("n")
    assert "there is no option 'nn'; did you mean 'n'?" in told(comfy, prompt, "4")


# Folders of pictures


def folder_of(comfy, name: str):
    folder = comfy.base / "input" / name
    folder.mkdir(exist_ok=True)
    return folder


def loading(folder: str, **changed) -> dict:
    prompt = training(5, "bad")
    prompt["2"]["inputs"] |= {"folder": folder, **changed}
    return prompt


def refusal(comfy, prompt: dict, number: str) -> str:
    """What the host answers to a prompt that a node's own check refuses."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        comfy.queue(prompt)
    errors = json.loads(refused.value.read())["node_errors"][number]["errors"]
    return " ".join(error["details"] for error in errors)


def test_folders_that_cannot_be_used_are_refused_when_queued(comfy):
    folder_of(comfy, "empty")
    assert "holds no pictures" in refusal(comfy, loading("empty"), "2")
    assert "is gone from the input folder" in refusal(comfy, loading("nowhere"), "2")
    assert "is not inside the input folder" in refusal(comfy, loading("../../etc"), "2")


def test_a_damaged_picture_is_named(comfy):
    (folder_of(comfy, "damaged") / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    ran = run(comfy, loading("damaged"))
    assert "one.png" in ran.message and "Replace it" in ran.message
    assert ran.data["node_type"] == "LoadTrainingImagesZO"


def test_a_caption_that_is_no_text_is_named(comfy):
    folder = folder_of(comfy, "captioned")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "one.png")
    (folder / "one.txt").write_bytes(b"\xff\xfe\x00\xd8 not UTF-8")
    message = told(comfy, loading("captioned"), "2")
    assert "one.txt" in message and "UTF-8" in message


# Tokens


def embeddings(comfy):
    return comfy.base / "models" / "embeddings"


def applying(name: str) -> dict:
    return {
        "1": node("LoadDemoModelZO"),
        "2": node("LoadTokenZO", name=name, word=""),
        "3": node("ApplyTokenZO", clip=["1", 1], token=["2", 0]),
        "4": states(["3", 0], "a photo"),
    }


TOKENS = {
    "width": ({"clip_l": torch.zeros(1, 768)}, ["128 numbers", "768"]),
    "other-encoder": ({"clip_g": torch.zeros(1, 1280)}, ["clip_l", "clip_g"]),
    "nan-token": ({"clip_l": torch.full((1, 128), float("nan"))}, ["NaN"]),
    "lora-file": ({"lora_te_x.lora_up.weight": torch.zeros(4, 4)}, ["a LoRA, not a token"]),
    "whole-numbers": (
        {"clip_l": torch.zeros(1, 128, dtype=torch.int64)},
        ["torch.int64", "float16"],
    ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_that_does_not_fit_says_so(comfy, name):
    tensors, said = TOKENS[name]
    save_file(tensors, embeddings(comfy) / f"{name}.safetensors")
    message = run(comfy, applying(f"{name}.safetensors")).message
    for part in said:
        assert part in message


def test_a_damaged_token_file_is_named(comfy):
    (embeddings(comfy) / "torn.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{")
    message = run(comfy, applying("torn.safetensors")).message
    assert "torn.safetensors" in message and "damaged" in message


def test_a_token_file_that_is_gone_is_refused_when_queued(comfy):
    assert "nowhere.safetensors" in refusal(comfy, applying("nowhere.safetensors"), "2")


def test_a_bad_name_for_a_saved_token(comfy):
    prompt = training(3, "good") | {"4": node("SaveTokenZO", token=["3", 1], name="a b")}
    prompt["4"]["inputs"]["if_exists"] = "number"
    message = run(comfy, prompt).message
    assert "'a b'" in message and "letters, digits" in message


# Checkpoints


def checkpoint_training(name: str, **changed) -> dict:
    prompt = training(5, "filed")
    given = prompt["3"]["inputs"]
    for wire in ("model", "vae"):
        del given[wire]
    prompt["3"] = node(
        "PersonalizeFromCheckpointZO",
        **{**given, "ckpt_name": name, "prediction": "auto", **changed},
    )
    return prompt


@pytest.fixture
def checkpoints(comfy):
    folder = comfy.base / "models" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "demo.safetensors"
    if not link.exists():
        link.symlink_to(CHECKPOINT)
    return folder


def test_a_checkpoint_with_its_clip_wired_is_learned_from(comfy, checkpoints):
    prompt = checkpoint_training("demo.safetensors")
    prompt |= {"20": states(["3", 0], "a filed dog"), "21": states(["1", 1], "a filed dog")}
    ran = succeeded(comfy, prompt)
    assert ran.progress[-1]["state"] == "finished"
    assert ran.text("20") != ran.text("21")
    succeeded(comfy, training(3, "between"))
    assert succeeded(comfy, prompt).progress[-1]["state"] == "reused"


def test_a_clip_of_another_model_is_told_from_the_checkpoints_own(comfy, checkpoints):
    prompt = checkpoint_training("demo.safetensors", clip=["5", 0])
    prompt["5"] = node("ZTestClip", clip=["1", 1], kind="hidden lora")
    comfy.delete("/zoodip/v1/store")
    message = run(comfy, prompt).message
    assert "text states" in message and "%" in message


def test_a_checkpoint_whose_clip_comfyui_cannot_load(comfy, checkpoints):
    """Its own loader does not know so small a model; the word is learned and kept by then."""
    prompt = checkpoint_training("demo.safetensors", word="kept-word")
    del prompt["3"]["inputs"]["clip"]
    ran = run(comfy, prompt)
    assert "'kept-word' is learned and kept" in ran.message
    assert "wire one into the clip input" in ran.message
    prompt["3"]["inputs"]["clip"] = ["1", 1]
    again = succeeded(comfy, prompt)
    assert again.progress[-1]["state"] == "reused"


def test_files_that_are_no_checkpoint_are_named(comfy, checkpoints):
    content = CHECKPOINT.read_bytes()
    (checkpoints / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (checkpoints / "garbage.safetensors").write_bytes(os.urandom(4096))
    (checkpoints / "nothing.safetensors").write_bytes(b"")
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(4, 4)}, checkpoints / "lora.safetensors")
    for name in ("cut", "garbage", "nothing", "lora"):
        message = run(comfy, checkpoint_training(f"{name}.safetensors")).message
        assert f"{name}.safetensors" in message, message


def test_values_that_are_not_in_a_list_are_named(comfy, checkpoints):
    assert "nowhere" in told(comfy, checkpoint_training("nowhere.safetensors"), "3")
    flow = checkpoint_training("demo.safetensors", prediction="flow")
    prediction = told(comfy, flow, "3")
    assert "prediction" in prediction and "flow" in prediction
    precision = told(comfy, training(5, "bad", precision="int4"), "3")
    assert "precision" in precision and "int4" in precision and "int8" in precision


# A full disk


@pytest.fixture
def small_disk(comfy):
    """Puts a file system of few bytes in the place of the store."""
    mounted = []
    place = comfy.base / "user" / "zoodip"
    place.mkdir(parents=True, exist_ok=True)

    def mount(kilobytes: int):
        options = f"size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "zoodip-test", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a tmpfs of a few kilobytes")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


# Pages are what a tmpfs hands out: 4 KiB each. Nothing fits; the record but no token does; the
# token but not the state beside it does.
@pytest.mark.parametrize("kilobytes", [4, 20, 36])
def test_a_full_disk_is_named(comfy, small_disk, kilobytes):
    place = small_disk(kilobytes)
    ran = run(comfy, training(30, f"full{kilobytes}"))
    message = ran.message
    assert str(place) in message and "space" in message, message
    assert not list(place.rglob("*.partial")) and not list(place.rglob("*.tmp"))
