"""The demo's graph end to end, and the word on its way through other nodes."""

import json

import numpy as np
import pytest
from demo_lora import lora_file
from graphs import (
    job_with_curve,
    node,
    node_job,
    options,
    run,
    runs_folder,
    sampled,
    states,
    succeeded,
    token_file,
    training,
)
from safetensors import safe_open
from safetensors.torch import load_file

WORD, OTHER = "zwx", "qvk"
WITH, WITHOUT = f"a photo of a {WORD} on the beach", "a photo of a dog on the beach"
STEPS = 60


def demo(word: str = WORD, /, **changed) -> dict:
    return training(STEPS, word, **changed)


@pytest.fixture(scope="module")
def ran(shared_comfy):
    """The whole graph: a word learned, shown, saved, and used in pictures."""
    prompt = demo()
    prompt["10"] = node("SaveTokenZO", token=["3", 1], name="", if_exists="replace")
    prompt["11"] = node("ZTestLosses", loss_map=["3", 2], steps=["3", 3])
    prompt = sampled(prompt, 20, WITH, ["3", 0])
    prompt = sampled(prompt, 30, WITH, ["1", 1])
    prompt = sampled(prompt, 40, WITHOUT, ["3", 0])
    prompt = sampled(prompt, 50, WITHOUT, ["1", 1])
    return succeeded(shared_comfy, prompt)


def test_it_tells_the_page_what_happens(ran):
    seen = [payload["state"] for payload in ran.progress]
    assert seen == sorted(seen, key=["preparing", "training", "finished"].index)
    assert set(seen) == {"preparing", "training", "finished"}
    last = ran.progress[-1]
    assert (last["step"], last["steps"], last["word"]) == (STEPS, STEPS, WORD)
    assert last["passes"] == 3 * STEPS
    assert last["compute"] == "fp32" and "ZOODIP_COMPUTE" in last["compute_choice"]
    assert (last["graph"]["node"], last["graph"]["workflow"]) == ("3", "workflow-1")
    assert [point[0] for p in ran.progress for point in p["points"]] == list(range(1, STEPS + 1))
    assert any(p["speed"] and p["seconds_left"] is not None for p in ran.progress)
    kept = job_with_curve(ran.comfy, last["id"])
    assert kept["state"] == "finished" and len(kept["points"]) == STEPS
    assert node_job(ran.comfy, "workflow-1") == kept


def test_a_preview_is_drawn(comfy):
    # One costs 20 rows of the UNet, a step three: a tenth of the time pays for it within 70 steps.
    prompt = demo(word="previewed", steps=300, options=["4", 0])
    prompt["4"] = options(preview_percent=10.0)
    ran = succeeded(comfy, prompt)
    previews = [payload["preview"] for payload in ran.progress if payload["preview"]]
    assert previews
    jpeg = comfy.get("/zoodip" + previews[-1]["url"])
    assert jpeg[:3] == b"\xff\xd8\xff"


def test_the_losses_are_those_of_all_steps(ran):
    losses = ran.outputs["11"]["losses"]
    assert len(losses) == STEPS and ran.outputs["11"]["steps"] == [STEPS]
    assert all(np.isfinite(losses)) and len(set(losses)) > STEPS // 2


def test_the_token_tells_what_it_is(ran):
    text = ran.text("9")
    assert f"word: {WORD}" in text and f"steps: {STEPS}" in text
    assert "clip_l: 1 vector of 128 numbers" in text


def test_the_word_is_saved_as_an_embedding(ran):
    assert ran.text("10") == f"embedding:{WORD}"
    path = ran.comfy.base / "models" / "embeddings" / f"{WORD}.safetensors"
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == ["clip_l"] and file.get_tensor("clip_l").shape == (1, 128)
        assert file.metadata()["word"] == WORD
        assert json.loads(file.metadata()["zoodip"])["word"] == WORD


def test_the_word_changes_pictures_of_it_and_no_others(ran):
    assert not np.array_equal(ran.pixels("25"), ran.pixels("35"))
    assert np.array_equal(ran.pixels("45"), ran.pixels("55"))


def test_the_word_as_a_file_draws_the_same_as_on_the_wire(ran):
    text = WITH.replace(WORD, f"embedding:{WORD}")
    fresh = {"1": node("LoadDemoModelZO"), "2": states(["1", 1], text)}
    fresh |= {"3": node("LoadTokenZO", name=f"{WORD}.safetensors", word="")}
    fresh |= {"4": node("ApplyTokenZO", clip=["1", 1], token=["3", 0]), "5": states(["4", 0], WITH)}
    fresh = sampled(fresh, 20, text, ["1", 1])
    files = succeeded(ran.comfy, fresh)
    wire = succeeded(ran.comfy, demo() | {"20": states(["3", 0], WITH)})
    assert files.text("2") == files.text("5") == wire.text("20")
    assert np.array_equal(files.pixels("25"), ran.pixels("25"))


def test_the_initialiser_is_where_the_word_starts(comfy):
    """One step with a learning rate of next to nothing leaves the vector where it began."""
    prompt = training(1, "unmoved", options=["4", 0])
    prompt["4"] = options(learning_rate=1e-8)
    prompt = sampled(prompt, 20, "a photo of a unmoved on the beach", ["3", 0])
    prompt = sampled(prompt, 30, WITHOUT, ["3", 0])
    ran = succeeded(comfy, prompt)
    difference = np.abs(ran.pixels("25").astype(int) - ran.pixels("35")).max()
    assert difference <= 1


def test_a_word_of_several_vectors(comfy):
    """As many as it has initialisers; from the wire, from a file, and as the start of another."""
    text = "a photo of a pair on the beach"
    prompt = training(8, "pair", initialiser="blue, dog")
    prompt["10"] = node("SaveTokenZO", token=["3", 1], name="", if_exists="replace")
    prompt["20"], prompt["21"] = states(["3", 0], text), states(["1", 1], text)
    again = {**prompt["3"]["inputs"], "clip": ["3", 0], "word": "heir", "initialiser": "pair"}
    prompt["5"] = node("PersonalizeZO", **again)
    prompt["22"] = node("TokenInfoZO", token=["5", 1])
    prompt["23"] = states(["5", 0], "a pair and a heir")
    ran = succeeded(comfy, prompt)
    assert "clip_l: 2 vectors of 128 numbers" in ran.text("9")
    assert ran.text("20") != ran.text("21")
    assert "word: heir" in ran.text("22") and "clip_l: 2 vectors" in ran.text("22")

    saved = {"1": node("LoadDemoModelZO")}
    saved["2"] = node("LoadTokenZO", name="pair.safetensors", word="")
    saved["3"] = node("ApplyTokenZO", clip=["1", 1], token=["2", 0])
    saved["4"] = states(["3", 0], text)
    assert succeeded(comfy, saved).text("4") == ran.text("20")


def test_vectors_can_be_more_than_initialisers(comfy):
    prompt = training(8, "wide", options=["4", 0]) | {"4": options(vectors=3)}
    assert "clip_l: 3 vectors" in succeeded(comfy, prompt).text("9")


def test_the_word_survives_clip_skip(ran):
    prompt = demo()
    prompt["4"] = node("CLIPSetLastLayer", clip=["3", 0], stop_at_clip_layer=-2)
    prompt["5"] = node("CLIPSetLastLayer", clip=["1", 1], stop_at_clip_layer=-2)
    prompt["20"], prompt["21"] = states(["4", 0], WITH), states(["5", 0], WITH)
    prompt["22"], prompt["23"] = states(["4", 0], WITHOUT), states(["5", 0], WITHOUT)
    prompt["24"] = states(["5", 0], f"a photo of a embedding:{WORD} on the beach")
    prompt["25"] = states(["3", 0], WITH)
    found = succeeded(ran.comfy, prompt)
    assert found.text("20") == found.text("24") != found.text("21")
    assert found.text("22") == found.text("23")
    assert found.text("20") != found.text("25")


def lora(comfy, model: list, clip: list, strength: float = 1.0) -> dict:
    name = lora_file(comfy, "test.safetensors", 1)
    return node(
        "LoraLoader",
        model=model,
        clip=clip,
        lora_name=name,
        strength_model=strength,
        strength_clip=strength,
    )


def test_the_word_survives_a_lora(ran):
    prompt = demo()
    prompt["4"] = lora(ran.comfy, ["1", 0], ["3", 0])
    prompt["5"] = lora(ran.comfy, ["1", 0], ["1", 1])
    prompt["20"], prompt["21"] = states(["4", 1], WITH), states(["5", 1], WITH)
    prompt["22"], prompt["23"] = states(["4", 1], WITHOUT), states(["5", 1], WITHOUT)
    prompt["24"] = states(["5", 1], f"a photo of a embedding:{WORD} on the beach")
    prompt["25"] = states(["3", 0], WITH)
    found = succeeded(ran.comfy, prompt)
    assert found.text("20") == found.text("24") != found.text("21")
    assert found.text("22") == found.text("23")
    assert found.text("20") != found.text("25"), "the LoRA changes nothing"


def test_a_word_is_learned_on_a_lora(ran):
    """The engine computes with the LoRA's weights: the self-check agrees, and another word comes
    of it than without, and of another strength another."""
    keys = [ran.progress[-1]["id"]]
    files = [token_file(ran.comfy, keys[0]).read_bytes()]
    for strength in (1.0, 0.5):
        prompt = demo(model=["4", 0], clip=["4", 1])
        prompt["4"] = lora(ran.comfy, ["1", 0], ["1", 1], strength)
        found = succeeded(ran.comfy, prompt)
        assert found.progress[-1]["state"] == "finished"
        keys.append(found.progress[-1]["id"])
        files.append(load_file(token_file(ran.comfy, keys[-1]))["clip_l"].numpy().tobytes())
    assert len(set(keys)) == 3 and len(set(files)) == 3


def test_two_words_in_one_prompt(ran):
    prompt = demo()
    # The second is learned beside the first: its captions may name it.
    prompt["4"] = node("PersonalizeZO", **{**prompt["3"]["inputs"], "word": OTHER, "steps": 10})
    prompt["4"]["inputs"] |= {"clip": ["3", 0], "captions": f"a photo of a {{}} and a {WORD}"}
    both = f"a {WORD} and a {OTHER}"
    prompt["20"], prompt["21"] = states(["4", 0], both), states(["3", 0], both)
    prompt["22"], prompt["23"] = states(["4", 0], WITH), states(["3", 0], WITH)
    prompt["5"] = node("ApplyTokenZO", clip=["1", 1], token=["4", 1])
    prompt["6"] = node("ApplyTokenZO", clip=["5", 0], token=["3", 1])
    prompt["24"] = states(["6", 0], both)
    prompt["25"] = states(["5", 0], WITHOUT)
    prompt["26"] = states(["1", 1], WITHOUT)
    found = succeeded(ran.comfy, prompt)
    assert found.text("20") == found.text("24") != found.text("21")
    assert found.text("22") == found.text("23")
    assert found.text("25") == found.text("26")


def test_pictures_of_different_sizes_and_with_opacity(comfy):
    listed = training(5, "listed", images=["5", 0], captions="a photo of a {}")
    listed["5"] = node("ZTestImageList")
    assert succeeded(comfy, listed).progress[-1]["state"] == "finished"
    clear = training(5, "clear", images=["5", 0], captions="one {}\n\ntwo {}\n")
    clear["5"] = node("ZTestImages", kind="with opacity")
    assert succeeded(comfy, clear).progress[-1]["state"] == "finished"


@pytest.mark.parametrize("sampling", ["v_prediction", "eps"])
@pytest.mark.parametrize("zsnr", [False, True])
def test_model_sampling_on_the_wire_is_respected(comfy, sampling, zsnr):
    """The self-check compares the engine's x0 with that of the patched model."""
    prompt = training(3, f"{sampling}-{zsnr}", model=["5", 0])
    prompt["5"] = node("ModelSamplingDiscrete", model=["1", 0], sampling=sampling, zsnr=zsnr)
    ran = succeeded(comfy, prompt)
    assert ran.progress[-1]["state"] == "finished"


@pytest.mark.parametrize("precision", ["int8-bf16", "dense", "dense-bf16"])
def test_every_precision_runs(comfy, precision):
    ran = run(comfy, training(3, f"with-{precision}", precision=precision))
    assert ran.end == "success", ran.data


def test_a_clip_with_skip_is_learned_on(comfy):
    prompt = training(3, "skipping", clip=["5", 0])
    prompt["5"] = node("CLIPSetLastLayer", clip=["1", 1], stop_at_clip_layer=-2)
    assert succeeded(comfy, prompt).progress[-1]["state"] == "finished"


def test_nothing_is_left_beside_a_finished_word(ran):
    key = ran.progress[-1]["id"]
    names = {path.name for path in (runs_folder(ran.comfy) / key).iterdir()}
    # The state is what a training of more steps goes on from.
    kept = {"token.safetensors", "token.best.safetensors", "token.state.safetensors"}
    kept |= {"job.json", "curve.bin", "validations.bin", "events.jsonl"}
    assert names - {"previews"} == kept


@pytest.mark.parametrize("method", ["rge", "exact"])
def test_a_word_of_xl_is_learned_saved_and_drawn(comfy, method):
    """Both halves: what is drawn with the word differs from what is drawn without, and before
    another text nothing does."""
    word = f"zw{method[0]}"
    prompt = demo(word=word, options=["4", 0])
    prompt["1"] = node("LoadDemoModelZO", family="Stable Diffusion XL")
    prompt["4"] = options(method=method)
    prompt["10"] = node("SaveTokenZO", token=["3", 1], name="", if_exists="replace")
    text = WITH.replace(WORD, word)
    for start, said, clip in (
        (20, text, ["3", 0]),
        (30, text, ["1", 1]),
        (40, WITHOUT, ["3", 0]),
        (50, WITHOUT, ["1", 1]),
    ):
        prompt = sampled(prompt, start, said, clip)
    ran = succeeded(comfy, prompt)
    drawn = {start: ran.pixels(str(start + 5)) for start in (20, 30, 40, 50)}
    assert not np.array_equal(drawn[20], drawn[30])
    assert np.array_equal(drawn[40], drawn[50])
    file = token_file(comfy, ran.progress[-1]["id"])
    shapes = {name: tensor.shape for name, tensor in load_file(file).items()}
    assert shapes == {"clip_l": (1, 64), "clip_g": (1, 128)}
    again = succeeded(comfy, prompt)
    assert "3" not in again.executed
