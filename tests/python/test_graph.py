"""Training on what a graph hands over: the word that files give, and the self-check before it."""

from __future__ import annotations

import hashlib
import json
import math
import weakref

import numpy as np
import pytest
import torch
import zoodip
from make_checkpoint import build_modules, to_original
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from zoodip import _native, graph

WORD, DOG = "sks", 1929
SEEDS = 50


def ids_of(text: str) -> torch.Tensor:
    return torch.tensor([_native.Tokenizer().encode_prompt(text)])


def caption(text: str) -> graph.Text:
    """Ids in which the word's place, where "dog" would stand, is marked."""
    ids = ids_of(text.replace("{}", "dog"))
    place = int((ids[0] == DOG).nonzero()[0, 0])
    ids[0, place] = 0
    return graph.Text(ids, [place])


EMPTY = graph.Text(ids_of(""))


def in_memory(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> graph.Weights:
    listed = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]
    return graph.Weights("the wired model", listed, tensors.__getitem__, metadata)


@pytest.fixture(scope="module")
def tensors(model):
    with safe_open(model, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@pytest.fixture(scope="module")
def pictures(images):
    found = []
    for file in sorted(images.glob("*.png")):
        text = file.with_suffix(".txt")
        words = text.read_text().strip() if text.exists() else "a photo of a {}"
        pixels = torch.from_numpy(np.array(Image.open(file)))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        found.append(graph.Picture(file.name, pixels, digest, words, caption(words)))
    return found


def learn(tensors, pictures, out, settings=None, word=WORD, **more):
    weights = in_memory(*tensors) if isinstance(tensors, tuple) else tensors
    chosen = {"steps": 4, "resolution": 64, **(settings or {})}
    return graph.train(
        weights, pictures, word, ("dog", DOG), out, empty_text=EMPTY, settings=chosen, **more
    )


def vector(path):
    return load_file(path)["clip_l"]


def test_the_same_bits_as_from_files(tensors, pictures, model, images, tmp_path):
    learn(tensors, pictures, tmp_path / "graph.safetensors")
    files = zoodip.train(
        model,
        images,
        WORD,
        "dog",
        tmp_path / "files.safetensors",
        caption="a photo of a {}",
        steps=4,
        resolution=64,
    )
    assert torch.equal(vector(tmp_path / "graph.safetensors"), vector(files.token))


def test_the_token_keeps_why_its_products_were_chosen(tensors, pictures, tmp_path):
    out = tmp_path / "word.safetensors"
    for reason in ("", "it is quickest here"):
        chosen = {"steps": 1, "compute": "fp32"}
        learn(tensors, pictures, out, chosen, compute_choice=reason, overwrite=True)
        assert zoodip.token_info(out)["zoodip"]["compute_choice"] == (reason or None)


@pytest.mark.parametrize("word", ["dog", "a"])
def test_an_ordinary_word_gets_a_warning(tensors, pictures, tmp_path, caplog, word):
    learn(tensors, pictures, tmp_path / "word.safetensors", {"steps": 1}, word=word)
    assert f"'{word}' is an ordinary word" in caplog.text


def test_weights_are_pulled_one_at_a_time_and_let_go(tensors, pictures, tmp_path):
    alive, most = [], 0

    def get(name):
        nonlocal most
        alive[:] = [ref for ref in alive if ref() is not None]
        tensor = tensors[0][name].clone()
        alive.append(weakref.ref(tensor))
        most = max(most, len(alive))
        return tensor

    listed = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors[0].items()]
    learn(
        graph.Weights("the wired model", listed, get, tensors[1]),
        pictures,
        tmp_path / "a.safetensors",
    )
    assert most <= 2


def test_what_get_raises_is_raised(tensors, pictures, tmp_path):
    def get(name):
        raise LookupError(f"no {name} here")

    listed = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors[0].items()]
    with pytest.raises(LookupError, match="no first_stage_model"):
        learn(
            graph.Weights("the wired model", listed, get, tensors[1]),
            pictures,
            tmp_path / "a.safetensors",
        )
    assert not list(tmp_path.iterdir())


def test_a_weight_of_another_shape_is_refused(tensors, pictures, tmp_path):
    listed = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors[0].items()]
    weights = graph.Weights("the wired model", listed, lambda name: torch.zeros(3), tensors[1])
    with pytest.raises(zoodip.Error, match="the wired model: .* has shape .*3.*, expected"):
        learn(weights, pictures, tmp_path / "a.safetensors")


def test_a_vector_to_start_from_is_that_word_s(tensors, pictures, tmp_path):
    key = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    row = tensors[0][key][DOG].float()
    learn(tensors, pictures, tmp_path / "id.safetensors")
    graph.train(
        in_memory(*tensors),
        pictures,
        WORD,
        ("dog", row),
        tmp_path / "row.safetensors",
        empty_text=EMPTY,
        settings={"steps": 4, "resolution": 64},
    )
    assert torch.equal(vector(tmp_path / "id.safetensors"), vector(tmp_path / "row.safetensors"))


def test_vectors_of_other_words_are_used(tensors, pictures, tmp_path):
    """The row of "photo" given as a vector is the same as its id; another vector is not."""
    key = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    learn(tensors, pictures, tmp_path / "plain.safetensors")
    table = tensors[0][key].float()
    for name, factor in (("same", 1.0), ("other", -1.0)):
        changed = []
        for picture in pictures:
            ids = picture.text.ids.clone()
            row = factor * table[ids[0, 2]]
            ids[0, 2] = 0
            text = graph.Text(ids, picture.text.places, [2], row[None])
            changed.append(
                graph.Picture(picture.name, picture.pixels, picture.sha256, picture.caption, text)
            )
        learn(tensors, changed, tmp_path / f"{name}.safetensors")
    plain = vector(tmp_path / "plain.safetensors")
    assert torch.equal(vector(tmp_path / "same.safetensors"), plain)
    assert not torch.equal(vector(tmp_path / "other.safetensors"), plain)


def test_another_schedule_changes_what_is_learned_and_is_part_of_the_run(
    tensors, pictures, tmp_path
):
    own = [math.cos((t + 1) / 1001 * math.pi / 2) ** 2 for t in range(1000)]
    learn(tensors, pictures, tmp_path / "own.safetensors", alphas_cumprod=own)
    learn(tensors, pictures, tmp_path / "sd.safetensors")
    assert not torch.equal(
        vector(tmp_path / "own.safetensors"), vector(tmp_path / "sd.safetensors")
    )
    identity = {}
    for name in ("own", "sd"):
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
            identity[name] = json.loads(file.metadata()["zoodip"])
    assert "schedule" in identity["own"]
    assert "schedule" not in identity["sd"]


@pytest.mark.parametrize(
    "schedule", [[0.5] * 1000, [0.9 - t / 1000 for t in range(1000)], [0.9, 0.8]]
)
def test_a_schedule_that_does_not_fall_is_refused(tensors, pictures, tmp_path, schedule):
    with pytest.raises(zoodip.Error, match="schedule: needs"):
        learn(tensors, pictures, tmp_path / "a.safetensors", alphas_cumprod=schedule)


def test_previews_show_the_word_and_keep_to_their_share(tensors, pictures, tmp_path):
    seen = []
    hooks = graph.Hooks(
        on_preview=lambda step, latents: seen.append((step, latents)), preview_share=0.5
    )
    learn(tensors, pictures, tmp_path / "a.safetensors", {"steps": 60}, hooks=hooks)
    assert seen
    steps = [step for step, _ in seen]
    assert steps == sorted(set(steps))
    assert all(latents.shape == (1, 4, 8, 8) and latents.isfinite().all() for _, latents in seen)
    plain = learn(tensors, pictures, tmp_path / "b.safetensors", {"steps": 60})
    assert torch.equal(vector(tmp_path / "a.safetensors"), vector(plain.token))


def test_no_share_no_preview(tensors, pictures, tmp_path):
    seen = []
    hooks = graph.Hooks(on_preview=lambda *given: seen.append(given), preview_share=0.0)
    learn(tensors, pictures, tmp_path / "a.safetensors", {"steps": 20}, hooks=hooks)
    assert not seen


def test_the_model_says_its_resolution(tensors, pictures, tmp_path):
    """Without a resolution the metadata decides."""
    metadata = {**tensors[1], "zoodip.resolution": "64"}
    learn((tensors[0], metadata), pictures, tmp_path / "a.safetensors", {"resolution": 0})
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert json.loads(file.metadata()["zoodip"])["settings"]["resolution"] == 64


@pytest.mark.parametrize("value", ["none", "60", "-64", "100000"])
def test_a_bad_resolution_of_the_model_is_refused(tensors, pictures, tmp_path, value):
    metadata = {**tensors[1], "zoodip.resolution": value}
    with pytest.raises(zoodip.Error, match="zoodip.resolution"):
        learn((tensors[0], metadata), pictures, tmp_path / "a.safetensors", {"resolution": 0})


# --- the self-check --------------------------------------------------------------------------


def owner_says(tensors, metadata, seed=0, clip_skip=1):
    """What the owner of the weights computes, here by the engine in float32: tests/python/
    test_models.py holds it to diffusers within 1e-4, a hundredth of what is told apart here."""
    source = _native.weights_in_memory(tensors, metadata)
    made = source.architecture()
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(1, 3, 128, 128, generator=generator) * 2 - 1
    z_t, _ = torch.randn(2, 1, 4, 16, 16, generator=generator)
    latent, _ = _native.LatentEncoder(source, weights="dense").encode(pixels)
    encoder = _native.TextEncoder(source, weights="dense", heads=made["text_encoders"][0]["heads"])
    text = graph.Text(ids_of("a photo of a dog"))
    states, _ = encoder.forward(text.ids, clip_skip=clip_skip)
    unet = _native.UNet(source, weights="dense", heads=made["unet_heads"])
    output = unet.forward(z_t, torch.tensor([400.0]), states)
    abar = alphas_cumprod()[400]
    if made["prediction"] == "v":
        x0 = abar**0.5 * z_t - (1 - abar) ** 0.5 * output
    else:
        x0 = (z_t - (1 - abar) ** 0.5 * output) / abar**0.5
    return graph.Expected((pixels, latent), (text, states), (z_t, 400, states, x0))


def alphas_cumprod() -> list[float]:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).tolist()


@pytest.mark.parametrize("weights", ["int8", "int4", "dense"])
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_the_check_passes_what_is_the_same(tensors, pictures, tmp_path, weights, compute):
    settings = {"weights": weights, "compute": compute, "steps": 1}
    learn(tensors, pictures, tmp_path / "a.safetensors", settings, expected=owner_says(*tensors))


@pytest.mark.parametrize("shape", ["tiny", "tiny-taesd"])
def test_the_check_passes_quantised_weights_of_many_models(pictures, tmp_path, shape):
    for seed in range(SEEDS // 2):
        tensors = to_original(build_modules(shape, seed=100 + seed))
        expected = owner_says(tensors, {}, seed)
        settings = {"steps": 1, "compute": ("fp32", "bf16")[seed % 2]}
        learn(
            (tensors, {}),
            pictures[:1],
            tmp_path / f"{seed}.safetensors",
            settings,
            expected=expected,
        )


def with_lora(tensors, start, size, seed=0):
    """The weights with rank-4 changes of the attention and feed-forward layers, each of `size`
    times the layer's own size: what merging a LoRA does."""
    generator = torch.Generator().manual_seed(seed)
    changed = dict(tensors)
    for name, tensor in tensors.items():
        layer = "attn" in name or "ff.net" in name or "mlp" in name
        if name.startswith(start) and layer and tensor.ndim == 2:
            down = torch.randn(4, tensor.shape[1], generator=generator)
            up = torch.randn(tensor.shape[0], 4, generator=generator)
            change = up @ down
            change *= size * tensor.float().norm() / change.norm()
            changed[name] = (tensor.float() + change).to(tensor.dtype)
    return changed


def refused(match, weights, pictures, folder, expected, settings=None):
    with pytest.raises(zoodip.Error, match=match) as raised:
        learn(weights, pictures, folder / "a.safetensors", settings, expected=expected)
    assert "%" in str(raised.value)  # the figure and its limit
    assert not list(folder.iterdir())


def test_the_check_trips_on_a_lora_left_out(tensors, pictures, tmp_path):
    weights, metadata = tensors
    owner = with_lora(weights, "model.diffusion_model.", 0.5)
    refused("denoised latents", tensors, pictures, tmp_path, owner_says(owner, metadata))


def test_the_check_trips_on_a_text_lora_left_out(tensors, pictures, tmp_path):
    weights, metadata = tensors
    owner = with_lora(weights, "cond_stage_model.", 0.25)
    refused("text states", tensors, pictures, tmp_path, owner_says(owner, metadata))


@pytest.mark.parametrize("kept", ["int8", "int4"])
@pytest.mark.parametrize(("owner", "ours"), [("v_prediction", "epsilon"), ("epsilon", "v")])
def test_the_check_trips_on_the_other_prediction(tensors, pictures, tmp_path, owner, ours, kept):
    weights, metadata = tensors
    expected = owner_says(weights, {**metadata, "zoodip.prediction_type": owner})
    settings = {"prediction": ours, "weights": kept}
    refused("denoised latents", tensors, pictures, tmp_path, expected, settings)


def test_the_check_trips_on_clip_skip_off_by_one(tensors, pictures, tmp_path):
    refused("text states", tensors, pictures, tmp_path, owner_says(*tensors, clip_skip=2))


def test_the_check_trips_on_a_wrong_scale(tensors, pictures, tmp_path):
    weights, metadata = tensors
    owner = {**metadata, "zoodip.latent_scale": "0.13025"}
    ours = {**metadata, "zoodip.latent_scale": "0.18215"}
    refused("latents", (weights, ours), pictures, tmp_path, owner_says(weights, owner))


def test_the_check_trips_on_another_schedule(tensors, pictures, tmp_path):
    own = [math.cos((t + 1) / 1001 * math.pi / 2) ** 2 for t in range(1000)]
    with pytest.raises(zoodip.Error, match="denoised latents"):
        learn(
            tensors,
            pictures,
            tmp_path / "a.safetensors",
            alphas_cumprod=own,
            expected=owner_says(*tensors),
        )


def test_memory_is_foretold(tensors):
    assert graph.memory(in_memory(*tensors), {"resolution": 64}) > 10_000_000
    with pytest.raises(zoodip.Error, match="resolution"):
        graph.memory(in_memory(*tensors), {"resolution": 3})
