"""Sampling against diffusers' own pipeline parts: the same weights, noise and schedule."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import torch
import zoodip
from diffusers import DPMSolverMultistepScheduler
from make_checkpoint import build_modules, write_diffusers_folder
from PIL import Image
from safetensors.torch import save_file
from zoodip import _native

STEPS, GUIDANCE, SIDE = 6, 4.0, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("diffusers") / "model"
    write_diffusers_folder(path, "tiny", seed=2)
    return path, build_modules("tiny", seed=2)


def encode(modules, text: str) -> torch.Tensor:
    ids = torch.tensor([_native.Tokenizer().encode_prompt(text)])
    return modules.text_encoder(ids).last_hidden_state


@torch.no_grad()
def reference_picture(
    modules, prompt: str, prediction: str, noise: torch.Tensor, **schedule
) -> np.ndarray:
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = DPMSolverMultistepScheduler(**betas | schedule, prediction_type=prediction)
    scheduler.set_timesteps(STEPS)
    context = torch.cat([encode(modules, ""), encode(modules, prompt)])
    latents = noise
    for timestep in scheduler.timesteps:
        output = modules.unet(latents.expand(2, -1, -1, -1), timestep, context).sample
        without, with_prompt = output.chunk(2)
        guided = without + GUIDANCE * (with_prompt - without)
        latents = scheduler.step(guided, timestep, latents).prev_sample
    pixels = modules.vae.decode(latents / 0.18215).sample[0]
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_equal_to_diffusers(folder, prediction):
    """Within two levels of 255: float32 rounding, grown by the guided steps, and the last round."""
    path, modules = folder
    noise = _native.initial_noise(seed=7, height=SIDE, width=SIDE)
    reference = reference_picture(modules, "a photo of a dog", prediction, noise)
    picture = zoodip.sample(
        path,
        "a photo of a dog",
        width=SIDE,
        height=SIDE,
        steps=STEPS,
        guidance=GUIDANCE,
        seed=7,
        weights="dense",
        prediction="v" if prediction == "v_prediction" else "auto",
    )
    assert picture.size == (SIDE, SIDE)
    assert reference.std() > 20  # a picture, not a plain colour
    assert np.abs(np.asarray(picture, dtype=np.float64) - reference).max() <= 2


@pytest.mark.parametrize(
    "schedule",
    [
        {"rescale_betas_zero_snr": True},
        {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    ],
    ids=["zero terminal SNR", "linear"],
)
def test_other_schedules_are_equal_to_diffusers(folder, schedule):
    path, modules = folder
    noise = _native.initial_noise(seed=7, height=SIDE, width=SIDE)
    reference = reference_picture(modules, "a photo of a dog", "v_prediction", noise, **schedule)
    zero_snr = "on" if schedule.pop("rescale_betas_zero_snr", False) else "auto"
    options = {"steps": STEPS, "guidance": GUIDANCE, "seed": 7, "weights": "dense"}
    picture = zoodip.sample(
        path,
        "a photo of a dog",
        width=SIDE,
        height=SIDE,
        prediction="v",
        zero_snr=zero_snr,
        **schedule,
        **options,
    )
    assert np.abs(np.asarray(picture, dtype=np.float64) - reference).max() <= 2


def draw(path, prompt="a photo of sks", **options):
    options = {"width": SIDE, "height": SIDE, "steps": 2} | options
    return np.asarray(zoodip.sample(path, prompt, **options))


def test_a_word_stands_for_its_vector(folder, tmp_path):
    path, modules = folder
    table = modules.text_encoder.get_input_embeddings().weight
    dog = table[_native.Tokenizer().single_token("dog")][None].clone()
    save_file({"clip_l": dog}, tmp_path / "a.safetensors", metadata={"word": "sks"})
    save_file({"emb_params": dog}, tmp_path / "zwx.safetensors")  # named by its file
    plain = draw(path, "a photo of dog on a beach")
    word = draw(path, "a photo of sks on a beach", tokens=[tmp_path / "a.safetensors"])
    assert np.array_equal(word, plain)
    two = draw(
        path,
        "a photo of ZWX on a beach",
        tokens=[tmp_path / "a.safetensors", tmp_path / "zwx.safetensors"],
    )
    assert np.array_equal(two, plain)
    assert not np.array_equal(draw(path, "a photo of sks on a beach"), plain)
    inside = "a photo of sksx"  # not the word
    assert np.array_equal(
        draw(path, inside, tokens=[tmp_path / "a.safetensors"]), draw(path, inside)
    )


def test_a_word_of_several_vectors_stands_for_all_of_them(folder, tmp_path):
    path, modules = folder
    table = modules.text_encoder.get_input_embeddings().weight
    ids = [_native.Tokenizer().single_token(word) for word in ("big", "red", "dog")]
    save_file({"clip_l": table[ids].clone()}, tmp_path / "sks.safetensors")
    save_file({"emb_params": table[ids[2:]].half()}, tmp_path / "zwx.safetensors")
    word = draw(path, "a photo of sks and sks", tokens=[tmp_path / "sks.safetensors"])
    assert np.array_equal(word, draw(path, "a photo of big red dog and big red dog"))
    tokens = [tmp_path / "sks.safetensors", tmp_path / "zwx.safetensors"]
    both = draw(path, "sks behind zwx", tokens=tokens)
    (tmp_path / "zwx.safetensors").unlink()
    exact = table[ids[2:]].half().float()
    save_file({"clip_l": exact}, tmp_path / "zwx.safetensors")
    assert np.array_equal(both, draw(path, "sks behind zwx", tokens=tokens))
    assert not np.array_equal(both, draw(path, "big red dog behind zwx"))
    # SDXL's files: clip_l is the same text encoder, and the other is not needed.
    sdxl = {"clip_l": table[ids].clone(), "clip_g": torch.zeros(3, 80)}
    save_file(sdxl, tmp_path / "sks.safetensors")
    again = draw(path, "a photo of sks and sks", tokens=[tmp_path / "sks.safetensors"])
    assert np.array_equal(again, word)
    save_file({"clip_l": torch.zeros(75, 64)}, tmp_path / "sks.safetensors")
    with pytest.raises(zoodip.Error, match="has 76 tokens; the text encoder takes 75"):
        draw(path, "a sks", tokens=[tmp_path / "sks.safetensors"])


def test_seeds_and_guidance_matter(folder):
    path, _ = folder
    first = draw(path)
    assert np.array_equal(first, draw(path))
    assert not np.array_equal(first, draw(path, seed=1))
    assert not np.array_equal(first, draw(path, guidance=1.0))
    assert not np.array_equal(first, draw(path, negative="rain"))


def test_bad_input(folder, tmp_path):
    path, _ = folder
    with pytest.raises(zoodip.Error, match="multiples of 32, got 40 x 64"):
        draw(path, width=40)
    with pytest.raises(zoodip.Error, match="from 1 to|needs 1 to"):
        draw(path, steps=0)
    with pytest.raises(zoodip.Error, match="guidance: needs at least 1"):
        draw(path, guidance=0.5)
    with pytest.raises(zoodip.Error, match="has 90 tokens"):
        draw(path, "dog " * 90)
    save_file({"clip_l": torch.zeros(1, 768)}, tmp_path / "wide.safetensors")
    with pytest.raises(zoodip.Error, match="have 768 numbers, this model's have 64"):
        draw(path, tokens=[tmp_path / "wide.safetensors"])
    save_file({"clip_g": torch.zeros(1, 64)}, tmp_path / "g.safetensors")
    with pytest.raises(zoodip.Error, match="are for clip_g of 64 .* are for clip_l of"):
        draw(path, tokens=[tmp_path / "g.safetensors"])
    save_file({"clip_l": torch.full((1, 64), float("nan"))}, tmp_path / "nan.safetensors")
    with pytest.raises(zoodip.Error, match="NaN or infinity"):
        draw(path, tokens=[tmp_path / "nan.safetensors"])
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "ab.safetensors")
    with pytest.raises(zoodip.Error, match="a token file holds clip_l or emb_params"):
        draw(path, tokens=[tmp_path / "ab.safetensors"])


def test_cancelling_from_another_thread(folder):
    path, _ = folder
    cancel = zoodip.CancelToken()
    cancel.cancel()
    with pytest.raises(zoodip.Cancelled):
        draw(path, cancel=cancel)


def test_the_program_writes_a_picture(folder, module_folder, tmp_path):
    path, _ = folder
    words = ["sample", "--model", path, "--prompt", "a photo of sks", "--out", tmp_path / "x.png"]
    words += ["--width", SIDE, "--height", SIDE, "--steps", 2]
    program = [str(word) for word in [module_folder / "zoodip", *words]]
    result = subprocess.run(program, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), draw(path))
    program[program.index("--out") + 1] = str(tmp_path / "x.jpg")
    assert "needs the ending .png" in subprocess.run(program, capture_output=True, text=True).stderr


# ------------------------------------------------------------------------ words that are not placed


@pytest.fixture(scope="module")
def tokens(folder, tmp_path_factory):
    """Files of tokens by name; the word of all but "other" is sks."""
    place = tmp_path_factory.mktemp("tokens")
    width = folder[1].text_encoder.config.hidden_size
    vectors = torch.randn(1, width, generator=torch.Generator().manual_seed(1)) * 0.3
    files = {"sks": ("sks", vectors), "renamed": ("sks", vectors), "other": ("dax", -vectors)}
    for name, (word, values) in files.items():
        save_file({"clip_l": values}, place / f"{name}.safetensors", {"word": word})
    return {name: place / f"{name}.safetensors" for name in files}


@pytest.fixture
def warned(caplog):
    """What was warned of."""
    caplog.set_level("WARNING", "zoodip")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "prompt",
    ["a photo of {}", "sks\u2019s ball", "\u201csks\u201d dog", "photo\u00a0sks", "sks\U0001f436"]
    + ["sks\u2014dog", "\u4e00\u53easks\u7684\u7167\u7247", "sks\uc758"],
)
def test_a_word_beside_any_sign_is_placed(folder, tokens, warned, prompt):
    with_word = draw(folder[0], prompt, tokens=[tokens["sks"]])
    assert warned() == []
    assert (with_word != draw(folder[0], prompt)).any()


def test_braces_stand_for_the_only_word(folder, tokens, warned):
    braces = draw(folder[0], "a photo of {}", tokens=[tokens["sks"]])
    assert (braces == draw(folder[0], "a photo of sks", tokens=[tokens["sks"]])).all()
    with pytest.raises(zoodip.Error, match=r"^prompt: {} stands for the word, .* 2 \(sks, dax\)"):
        draw(folder[0], "{}", tokens=[tokens["sks"], tokens["other"]])
    assert warned() == []
    draw(folder[0], "a photo of {}")
    assert "prompt: {} stands for the word of a token, and none was given" in warned()[0]


@pytest.mark.parametrize("prompt", ["skss", "a photo of a dog", "s ks"])
def test_a_word_that_is_not_placed_is_a_warning(folder, tokens, warned, prompt):
    draw(folder[0], prompt, tokens=[tokens["sks"]])
    (said,) = warned()
    assert said == (
        f"the prompt does not hold 'sks', the word of {tokens['sks']}, and the picture is drawn "
        "without it. Write sks or {} where the subject is named"
    )


def test_the_name_of_a_file_is_not_its_word(folder, tokens, warned):
    draw(folder[0], "a photo of renamed", tokens=[tokens["renamed"]])
    (said,) = warned()
    assert "('renamed' is the name of the file, not its word)" in said
    assert "Write sks or {} where" in said


def test_a_word_may_stand_in_the_negative_prompt(folder, tokens, warned):
    both = [tokens["sks"], tokens["other"]]
    draw(folder[0], "a photo of dax", negative="sks", tokens=both)
    assert warned() == []
    draw(folder[0], "a photo of dax", negative="sks", tokens=both, guidance=1)
    assert len(warned()) == 1 and "'sks'" in warned()[0] and "{}" not in warned()[0]


def test_two_tokens_of_one_word_are_refused(folder, tokens):
    with pytest.raises(zoodip.Error, match="sks.safetensors and .*renamed.safetensors both bring"):
        draw(folder[0], "sks", tokens=[tokens["sks"], tokens["renamed"]])


@pytest.mark.parametrize(
    ("prompt", "signs"),
    [
        ("(sks:1.3)", "(sks:1.3) is"),
        ("sks BREAK a dog", "BREAK is"),
        ("sks, {red|blue}", "{red|blue} is"),
        ("[cat:sks:0.5]", "[cat:sks:0.5] is"),
        ("sks <lora:dog:0.8>", "<lora:dog:0.8> is"),
        ("<sks>", "<sks> is"),
        ("embedding:sks", "embedding: is"),
        ("((sks)) AND a dog", "((sks)), AND are"),
        ("[sks] __colour__", "[sks], __colour__ are"),
        ("sks \\(dog\\)", "\\(, \\) are"),
    ],
)
def test_signs_of_other_programs_are_named(folder, tokens, warned, prompt, signs):
    draw(folder[0], prompt, tokens=[tokens["sks"]])
    (said,) = warned()
    assert said.startswith(f"prompt: {signs} read as")


@pytest.mark.parametrize("prompt", ["sks: a dog", "SKS AND A DOG", "sks < 3, 2 > 1", "a__b sks :)"])
def test_plain_signs_are_not(folder, tokens, warned, prompt):
    draw(folder[0], prompt, tokens=[tokens["sks"]])
    assert warned() == []


def test_what_a_file_holds_beside_the_word_is_named(folder, tmp_path, warned):
    width = folder[1].text_encoder.config.hidden_size
    vectors = {"emp_params": torch.ones(1, width), "emp_params_out": torch.ones(1, width)}
    save_file(vectors, tmp_path / "mycat.safetensors")
    draw(folder[0], "a photo of mycat", tokens=[tmp_path / "mycat.safetensors"])
    (said,) = warned()
    assert said.endswith("holds also emp_params_out (an output vector), not used")
