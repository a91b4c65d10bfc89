"""Token files between programs: `zoodip token`, `zoodip.token_info` and `zoodip.token_convert`.

diffusers reads them by running; ComfyUI and A1111 as their sources say, which the two short readers
below spell out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import zoodip
from diffusers import DDIMScheduler, StableDiffusionPipeline
from make_checkpoint import build_modules
from program import QUICK, refuses
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from demo.tokenizer import build_tokenizer

WIDTH = 64
FORMATS = ("comfyui", "a1111", "diffusers")
METADATA = {
    "word": "sks",
    "step": "30",
    "zoodip": '{"settings":{"steps":30},"word":"sks","zoodip":"0.1.0"}',
    "format": "pt",
}


def vectors(count: int = 1, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) / 10


def write_ours(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """What `zoodip train` writes: a tensor for each encoder."""
    save_file(tensors, path, METADATA)
    zoodip.token_convert(path, path, to="comfyui", overwrite=True)  # in the engine's own bytes
    return path


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.fixture(scope="module")
def trained(model, images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("token") / "sks.safetensors"
    chosen = QUICK | {"seed": 7, "compute": "fp32"}  # whatever processor this is
    return zoodip.train(model, images, "sks", "dog", out, **chosen).token


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(
    "tensors",
    [
        {"clip_l": vectors()},
        {"clip_l": vectors(3, 768)},
        {"clip_h": vectors(2, 1024)},
        {"clip_l": vectors(2, 768), "clip_g": vectors(2, 1280)},
    ],
    ids=["one", "three", "clip_h", "sdxl"],
)
def test_there_and_back_are_the_same_bytes(tmp_path, tensors, to):
    ours = write_ours(tmp_path / "ours.safetensors", tensors)
    theirs, back = tmp_path / "theirs.safetensors", tmp_path / "back.safetensors"
    zoodip.token_convert(ours, theirs, to=to)
    zoodip.token_convert(theirs, back, to="comfyui")
    assert back.read_bytes() == ours.read_bytes()
    assert metadata_of(theirs) == METADATA


def test_what_was_trained_keeps_all_it_says(trained, tmp_path):
    for to in FORMATS:
        zoodip.token_convert(trained, tmp_path / f"{to}.safetensors", to=to)
        told = zoodip.token_info(tmp_path / f"{to}.safetensors")
        assert {**told, "format": None} == {**zoodip.token_info(trained), "format": None}
        assert told["format"] == to
    assert (tmp_path / "comfyui.safetensors").read_bytes() == trained.read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_become_float32_of_the_same_value(tmp_path, dtype):
    stored = vectors(2).to(dtype)
    save_file({"emb_params": stored}, tmp_path / "bear.safetensors", {"ss_steps": "900"})
    zoodip.token_convert(tmp_path / "bear.safetensors", tmp_path / "x.safetensors", to="comfyui")
    (found,) = load_file(tmp_path / "x.safetensors").values()
    assert found.dtype == torch.float32 and torch.equal(found.to(dtype), stored)
    assert metadata_of(tmp_path / "x.safetensors") == {
        "ss_steps": "900",
        "word": "bear",
        "format": "pt",
    }


# --- diffusers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def make_pipeline():
    """A pipeline of random weights, whose tokenizer and text encoder know no new word."""

    def make() -> StableDiffusionPipeline:
        modules = build_modules("tiny", seed=2)
        return StableDiffusionPipeline(
            vae=modules.vae,
            unet=modules.unet,
            text_encoder=modules.text_encoder,
            tokenizer=build_tokenizer(),
            scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    return make


def states(pipeline: StableDiffusionPipeline, prompt: str) -> torch.Tensor:
    with torch.no_grad():
        positive, _ = pipeline.encode_prompt(
            prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    return positive


def known_rows(pipeline: StableDiffusionPipeline, words: str) -> torch.Tensor:
    """The vectors of words that the pipeline knows: of a token made of them we know the effect."""
    ids = pipeline.tokenizer(words, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(words.split())
    return pipeline.text_encoder.get_input_embeddings().weight[ids].detach().clone()


@pytest.mark.parametrize("words", ["dog", "big red dog"])
@pytest.mark.parametrize(
    ("to", "named"),
    # The last takes our ordinary file as it stands; without token= the word would be clip_l.
    [("diffusers", {}), ("a1111", {"token": "sks"}), ("comfyui", {"token": "sks"})],
)
def test_diffusers_loads_it(make_pipeline, tmp_path, to, named, words):
    pipeline = make_pipeline()
    path = write_ours(tmp_path / "x.safetensors", {"clip_l": known_rows(pipeline, words)})
    zoodip.token_convert(path, path, to=to, overwrite=True)
    expected = states(pipeline, f"a photo of {words} on a beach")
    assert not torch.equal(states(pipeline, "a photo of sks on a beach"), expected)
    pipeline.load_textual_inversion(str(path), **named)
    assert torch.equal(states(pipeline, "a photo of sks on a beach"), expected)


def test_without_a_word_diffusers_calls_our_ordinary_file_clip_l(make_pipeline, tmp_path):
    pipeline = make_pipeline()
    path = write_ours(tmp_path / "sks.safetensors", {"clip_l": vectors()})
    pipeline.load_textual_inversion(str(path))
    assert "clip_l" in pipeline.tokenizer.get_added_vocab()


def test_diffusers_loads_both_encoders_as_its_guide_says(make_pipeline, tmp_path):
    pipeline = make_pipeline()
    torch.manual_seed(0)
    text_encoder_2, tokenizer_2 = small_second_encoder(), build_tokenizer()
    tensors = {"clip_l": vectors(2), "clip_g": vectors(2, 32)}
    ours = write_ours(tmp_path / "ours.safetensors", tensors)
    zoodip.token_convert(ours, tmp_path / "x.safetensors", to="diffusers")
    state_dict = load_file(tmp_path / "x.safetensors")
    for key, encoder, tokenizer in [
        ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
        ("clip_g", text_encoder_2, tokenizer_2),
    ]:
        pipeline.load_textual_inversion(
            state_dict[key], token="sks", text_encoder=encoder, tokenizer=tokenizer
        )
        ids = tokenizer.convert_tokens_to_ids(["sks", "sks_1"])
        assert torch.equal(encoder.get_input_embeddings().weight[ids], tensors[key])


def small_second_encoder() -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=32,
        )
    )


@pytest.mark.parametrize("key", ["<cat-toy>", "cat-toy"])
def test_what_diffusers_saves_is_read(tmp_path, key):
    """Its training example saves {placeholder: embedding} as learned_embeds.safetensors."""
    path = tmp_path / "learned_embeds.safetensors"
    save_file({key: vectors(2)}, path, {"format": "pt"})
    assert zoodip.token_info(path)["word"] == "cat-toy"
    assert zoodip.token_info(path)["format"] == "diffusers"
    zoodip.token_convert(path, tmp_path / "ours.safetensors", to="comfyui")
    assert torch.equal(load_file(tmp_path / "ours.safetensors")["clip_l"], vectors(2))


# --- ComfyUI and A1111 ----------------------------------------------------------------------------


def as_comfyui_reads(path: Path, key: str) -> torch.Tensor:
    """load_embed of comfy/sd1_clip.py: the encoder's tensor, else the first."""
    state_dict = load_file(path)
    return state_dict[key] if key in state_dict else next(iter(state_dict.values()))


def as_a1111_reads(path: Path) -> torch.Tensor | dict[str, torch.Tensor]:
    """create_embedding_from_data of modules/textual_inversion/textual_inversion.py."""
    state_dict = load_file(path)
    if "clip_g" in state_dict and "clip_l" in state_dict:
        return state_dict
    (vector,) = state_dict.values()
    return vector.unsqueeze(0) if vector.ndim == 1 else vector


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("to", FORMATS)
def test_comfyui_and_a1111_read_every_layout(tmp_path, to, count):
    ours = write_ours(tmp_path / "ours.safetensors", {"clip_l": vectors(count)})
    zoodip.token_convert(ours, tmp_path / "x.safetensors", to=to)
    assert torch.equal(as_comfyui_reads(tmp_path / "x.safetensors", "clip_l"), vectors(count))
    assert torch.equal(as_a1111_reads(tmp_path / "x.safetensors"), vectors(count))
    expected = {"comfyui": "clip_l", "a1111": "emb_params", "diffusers": "sks"}[to]
    assert list(load_file(tmp_path / "x.safetensors")) == [expected]


@pytest.mark.parametrize("to", FORMATS)
def test_comfyui_and_a1111_read_both_encoders(tmp_path, to):
    tensors = {"clip_l": vectors(2, 768), "clip_g": vectors(2, 1280)}
    ours = write_ours(tmp_path / "ours.safetensors", tensors)
    zoodip.token_convert(ours, tmp_path / "x.safetensors", to=to)
    both = as_a1111_reads(tmp_path / "x.safetensors")
    for key, expected in tensors.items():
        assert torch.equal(as_comfyui_reads(tmp_path / "x.safetensors", key), expected)
        assert torch.equal(both[key], expected)


# --- the program ----------------------------------------------------------------------------------


def test_info_says_what_a_token_is(run, trained, model):
    told = run(["token", "info", str(trained)])
    assert told.returncode == 0 and told.stderr == ""
    info = zoodip.token_info(trained)
    assert info["zoodip"]["seed"] == 7
    assert info["zoodip"]["changed"] == {"steps": 12, "resolution": 64, "tau": 4, "seed": 7}
    for line in (
        "word         sks",
        "format       comfyui (tensors called as the text encoders)",
        f"made by      zoodip {zoodip.__version__}",
        "step         12",
        "seed         7",
        "settings     resolution 64, steps 12, tau 4; else the defaults",
        f"model        {info['zoodip']['model']}",
        "pictures     3",
        f"  1.png      {info['zoodip']['pictures'][1]['sha256'][:12]}  a photo of a {{}} in front",
    ):
        assert f"{line}" in told.stdout, told.stdout
    assert "clip_l       1 vector of 64 numbers, norm 0." in told.stdout


def test_info_gives_the_same_as_json(run, trained):
    told = json.loads(run(["token", "info", str(trained), "--json"]).stdout)
    assert told == zoodip.token_info(trained)
    (encoder,) = told["encoders"]
    norm = load_file(trained)["clip_l"].double().norm().item()
    assert encoder == {
        "name": "clip_l",
        "vectors": 1,
        "width": 64,
        "stored": "F32",
        "norms": [pytest.approx(norm, rel=1e-12)],  # both in float64
    }
    record = json.loads(metadata_of(trained)["zoodip"])
    assert told["zoodip"]["settings"] == record["settings"]
    assert told["zoodip"]["model"] == record["model"]
    assert told["step"] == 12 and told["finished"] is True and told["metadata"] == {}


def test_info_of_other_programs_files(run, tmp_path):
    path = tmp_path / "my bear.safetensors"
    save_file({"emb_params": vectors(2).half()}, path, {"ss_steps": "900"})
    told = run(["token", "info", str(path)])
    for line in (
        "word         none that prompts can use; convert it under another name\n",
        "format       a1111 (one tensor, emb_params)\n",
        "made by      another program, or unknown\n",
        "ss_steps     900\n",
        "stored as F16\n",
    ):
        assert line in told.stdout, told.stdout
    info = zoodip.token_info(path)
    assert info["word"] is None and info["zoodip"] is None
    assert info["metadata"] == {"ss_steps": "900"}


def test_convert(run, trained, tmp_path):
    out = tmp_path / "zwx.safetensors"
    words = ["token", "convert", str(trained), "--to", "diffusers", "--out", str(out)]
    told = run([*words, "--word", "zwx"])
    assert told.returncode == 0 and told.stdout == "" and "done: " in told.stderr
    assert list(load_file(out)) == ["zwx"]
    refuses(run(words), "zwx.safetensors exists: name another --out, or add --overwrite")
    assert list(load_file(out)) == ["zwx"]
    assert run([*words, "--overwrite"]).returncode == 0
    assert list(load_file(out)) == ["sks"]
    assert [p.name for p in tmp_path.iterdir()] == ["zwx.safetensors"]


@pytest.mark.parametrize("name", ["sks.pt", "sks.bin", "sks.ckpt"])
def test_pickles_are_refused_by_name(run, tmp_path, name):
    says = "is a Python pickle .*can run code.* Use its .safetensors form; .*Load Token .ZO."
    with pytest.raises(zoodip.Error, match=says):
        zoodip.token_info(name)
    with pytest.raises(zoodip.Error, match=says):
        zoodip.token_convert(name, tmp_path / "x.safetensors", to="comfyui")
    refuses(run(["token", "info", name]), name, "is a Python pickle (.", "can run code")


def test_refusals(trained, model, tmp_path):
    def refused(source, says, to="comfyui", out="x.safetensors", word=None):
        with pytest.raises(zoodip.Error, match=says):
            zoodip.token_convert(source, tmp_path / out, to=to, word=word)

    refused(tmp_path / "no.safetensors", "cannot open .*No such file")
    refused(model, "tiny.safetensors: is a checkpoint, not a token; .*440 tensors")
    refused(trained, "to: needs one of comfyui, a1111, diffusers; got 'kohya'", to="kohya")
    refused(trained, "x.pt' needs the ending .safetensors", out="x.pt")
    refused(trained, "does not exist. Create it", out="no/x.safetensors")
    refused(trained, "word: 'a b' cannot name", word="a b")
    assert list(tmp_path.iterdir()) == []


def test_usage_errors(run):
    refuses(run([]), "a command is needed: train, sample, inspect, settings, token or serve")
    refuses(run(["token"]), "a command is needed: token info or convert")
    refuses(run(["token", "convrt"]), "no command 'token convrt'; did you mean 'token convert'?")
    refuses(run(["token", "convert", "x.safetensors", "--to", "a1111"]), "--out is required")


def test_help(run):
    told = run(["token", "--help"])
    assert told.returncode == 0 and "info" in told.stdout and "convert" in told.stdout
    told = run(["token", "convert", "--help"])
    assert told.returncode == 0 and "comfyui|a1111|diffusers" in told.stdout
