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
    with pytest.raises(zoodip.Error, match="are for clip_g and have 64 .* are for clip_l and have"):
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
