"""A model that is not whole is refused with the names of what is missing, before it is used.

The oracle is what diffusers and transformers build of each structure.
"""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
import zoodip
from make_checkpoint import to_original, write_checkpoint, write_diffusers_folder
from PIL import Image
from program import arguments, refuses
from random_modules import SHAPES, Modules, construct, find_shape
from safetensors.torch import load_file, save_file
from zoodip import _native, graph

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
CROSS = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2."
SCALARS = {f"{VAE}vae_scale", f"{VAE}vae_shift"}

# TAESD as published, and pruned UNets with one residual block a level (BK-SDM).
TAESD = dataclasses.replace(
    SHAPES["tiny-taesd"],
    vae={
        "encoder_block_out_channels": (64,) * 4,
        "decoder_block_out_channels": (64,) * 4,
        "num_encoder_blocks": (1, 3, 3, 3),
        "num_decoder_blocks": (3, 3, 3, 1),
        "latent_channels": 4,
    },
)
PRUNED = dataclasses.replace(
    SHAPES["sd15"], unet=SHAPES["sd15"].unet | {"layers_per_block": 1}, vae=SHAPES["tiny"].vae
)
STRUCTURES = {"sd15": SHAPES["sd15"], "tiny": SHAPES["tiny"], "taesd": TAESD, "pruned": PRUNED}


def listed(shape):
    """Name -> shape of a model, without its numbers."""
    modules = Modules(
        **{part: construct(find_shape(shape), part, "meta") for part in find_shape(shape).parts}
    )
    tensors = to_original(modules)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in SCALARS}


def source_of(shapes, metadata=None):
    """A source that would fail if a number were read."""
    entries = [(name, list(shape), torch.float16) for name, shape in shapes.items()]
    return _native.weights_from("m", metadata or {}, entries, lambda name: 1 / 0)


def refusal(shapes, metadata=None, **halves):
    with pytest.raises(_native.Error) as caught:
        source_of(shapes, metadata).require_whole(**halves)
    return str(caught.value)


@pytest.fixture(scope="module", params=STRUCTURES)
def whole(request):
    return listed(STRUCTURES[request.param])


@pytest.fixture(scope="module")
def sd15():
    return listed("sd15")


# ------------------------------------------------------------------------------- the list itself


def fits(shape, expected):
    if len(expected) == 2 and len(shape) == 4 and shape[2:] == (1, 1):
        shape = shape[:2]
    return len(shape) == len(expected) and all(
        e in (-1, s) for s, e in zip(shape, expected, strict=True)
    )


def test_the_list_is_what_the_reference_libraries_have(whole):
    source = source_of(whole)
    manifest = dict(source.manifest())
    names = {name for name in whole if not name.endswith("position_ids")}
    assert set(manifest) == names
    wrong = {n: (whole[n], s) for n, s in manifest.items() if not fits(whole[n], tuple(s))}
    assert not wrong
    source.require_whole(encoder=True, decoder=True)
    assert source.unread() == []


def test_linear_projections_fit_as_well(sd15):
    linear = {
        name: shape[:2] if re.search(r"proj_(in|out)\.weight$", name) else shape
        for name, shape in sd15.items()
    }
    assert linear != sd15
    source_of(linear).require_whole(encoder=True, decoder=True)


@pytest.mark.parametrize("shape", ["tiny", "tiny-taesd"])
def test_the_networks_read_the_list_and_nothing_else(shape, tmp_path):
    write_checkpoint(tmp_path / "m.safetensors", shape)
    file, read = _native.open_weights(tmp_path / "m.safetensors"), set()

    def get(name):
        read.add(name)
        return file.get(name)

    entries = [(name, *file.info(name)) for name in file.names()]
    source = _native.weights_from("m", file.metadata(), entries, get)
    expected = {name for name, _ in source.manifest()}
    read.clear()  # scalars
    _native.TextEncoder(source, heads=1)
    _native.UNet(source)
    _native.LatentEncoder(source)
    _native.LatentDecoder(source)
    assert read - SCALARS == expected


# --------------------------------------------------------------------------------------- missing


def test_each_tensor_is_missed_by_its_name(whole):
    for name in whole:
        if name.endswith("position_ids"):
            continue
        message = refusal({n: s for n, s in whole.items() if n != name}, encoder=True)
        assert f"'{name}'" in message, name
        assert "is not whole, 1 tensor is missing: " in message or (
            f"is not whole, '{name}' is missing" in message
        ), message


GROUPS = [
    ("a text layer", f"{TEXT}text_model.encoder.layers.6."),
    ("the last text layer", f"{TEXT}text_model.encoder.layers.11."),
    ("an input block", f"{UNET}input_blocks.5."),
    ("the last input block", f"{UNET}input_blocks.11."),
    ("a downsampler", f"{UNET}input_blocks.6."),
    ("the first downsampler", f"{UNET}input_blocks.3."),
    ("the middle", f"{UNET}middle_block."),
    ("the middle's attention", f"{UNET}middle_block.1."),
    ("an output block", f"{UNET}output_blocks.2."),
    ("the last output block", f"{UNET}output_blocks.11."),
    ("an upsampler behind a transformer", f"{UNET}output_blocks.5.2."),
    ("an upsampler", f"{UNET}output_blocks.2.1."),
    ("a transformer", f"{UNET}input_blocks.4.1."),
    ("a transformer's blocks", f"{UNET}output_blocks.8.1.transformer_blocks."),
    ("a residual block", f"{UNET}output_blocks.0.0."),
    ("the time embedding", f"{UNET}time_embed."),
    ("the way out", f"{UNET}out."),
    ("a level of the encoder", f"{VAE}encoder.down.2."),
    ("the last level of the encoder", f"{VAE}encoder.down.3."),
    ("a block of the encoder", f"{VAE}encoder.down.1.block.1."),
    ("the encoder's middle", f"{VAE}encoder.mid."),
    ("a level of the decoder", f"{VAE}decoder.up.3."),
    ("the last block of each level", f"{VAE}decoder.up.0.block.2."),
    ("a downsampler of the encoder", f"{VAE}encoder.down.0.downsample."),
    ("an upsampler of the decoder", f"{VAE}decoder.up.1.upsample."),
    ("one of the two convolutions of moments", f"{VAE}quant_conv."),
    ("the other", f"{VAE}post_quant_conv."),
]


@pytest.mark.parametrize("start", [start for _, start in GROUPS], ids=[name for name, _ in GROUPS])
def test_what_is_missing_as_a_whole_is_missed(sd15, start):
    gone = [name for name in sd15 if name.startswith(start)]
    assert gone
    message = refusal({n: s for n, s in sd15.items() if n not in gone}, encoder=True, decoder=True)
    count = int(re.search(r"is not whole, (\d+) tensors? (?:is|are) missing: ", message)[1])
    named = re.findall(r"'([^']+)'", message)
    # Whether the first block of a level had a shortcut cannot be told from a level without widths.
    assert len(gone) - 2 * start.endswith("down.2.") <= count <= len(gone)
    assert set(named) <= set(gone)
    assert len(named) == min(5, count)
    assert (f" and {count - 5} more" in message) == (count > 5)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_layer_of_a_tiny_autoencoder(half):
    shapes = listed(TAESD)
    root = f"{VAE}taesd_{half}."
    for index in {re.match(r"(\d+)\.", n.removeprefix(root))[1] for n in shapes if root in n}:
        gone = [n for n in shapes if n.startswith(f"{root}{index}.")]
        message = refusal({n: s for n, s in shapes.items() if n not in gone}, encoder=True)
        assert any(f"'{name}'" in message for name in gone) or "expected 3" in message, index


def test_levels_that_do_not_come_out_even(sd15):
    cut = {n: s for n, s in sd15.items() if not re.search(r"put_blocks\.11\.", n)}
    assert "which make up no levels" in refusal(cut)


# ---------------------------------------------------------------------------------- by design


def test_half_an_autoencoder_serves_what_needs_that_half(sd15):
    for half, other in (("encoder", "decoder"), ("decoder", "encoder")):
        rest = {n: s for n, s in sd15.items() if not n.startswith(f"{VAE}{half}.")}
        source_of(rest).require_whole(**{other: True})
        source_of(rest).require_whole()
        assert f"its autoencoder has no {half}" in refusal(rest, **{half: True})
        spoiled = {n: s for n, s in sd15.items() if n != f"{VAE}{half}.mid.attn_1.q.bias"}
        assert "attn_1.q.bias" in refusal(spoiled, **{other: True})


def test_an_autoencoder_without_convolutions_of_moments(sd15):
    without = {n: s for n, s in sd15.items() if "quant_conv." not in n}
    source_of(without).require_whole(encoder=True, decoder=True)
    assert "quant_conv" in refusal(without, {"zoodip.vae_quant_conv": "true"})


def test_a_unet_made_without_a_middle(sd15):
    without = {n: s for n, s in sd15.items() if not n.startswith(f"{UNET}middle_block.")}
    source_of(without, {"zoodip.unet_middle": "false"}).require_whole()
    assert "middle_block" in refusal(without)


def test_a_text_encoder_of_another_depth_says_so(sd15):
    shorter = {n: s for n, s in sd15.items() if "encoder.layers.11." not in n}
    assert "16 tensors are missing" in refusal(shorter)
    source_of(shorter, {"zoodip.text_layers": "11"}).require_whole()


# ---------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        (f"{UNET}input_blocks.4.0.in_layers.2.weight", (640, 320, 1, 1), "[640, 320, 3, 3]"),
        (f"{UNET}output_blocks.3.0.in_layers.0.bias", (1280,), "[2560]"),
        (
            f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
            (300, 768),
            "[320, 768]",
        ),
        (f"{UNET}time_embed.2.bias", (1281,), "[1280]"),
        (f"{TEXT}text_model.encoder.layers.3.mlp.fc1.weight", (3072, 767), "[3072, 768]"),
        (f"{TEXT}text_model.embeddings.position_embedding.weight", (77, 64), "[any, 768]"),
        (f"{VAE}encoder.down.2.block.0.conv1.weight", (512, 512, 3, 3), "[512, 256, 3, 3]"),
        (f"{VAE}decoder.conv_in.weight", (512, 16, 3, 3), "[512, 4, 3, 3]"),
        (f"{VAE}quant_conv.weight", (8, 8, 3, 3), "[8, 8]"),
    ],
)
def test_the_tensor_of_another_shape_is_named(sd15, name, shape, expected):
    message = refusal(sd15 | {name: shape}, encoder=True, decoder=True)
    assert "1 tensor does not fit" in message
    assert f"'{name}' has shape {list(shape)}, expected {expected}" in message


# ---------------------------------------------------------------------------------------- unread


def test_what_nothing_reads_is_listed(sd15):
    strangers = {
        f"{UNET}input_blocks.1.1.adapter.weight": (4,),
        f"{UNET}input_blocks.123456789012345678901.0.op.weight": (4,),
        f"{VAE}encoder.down.0.attn.0.q.weight": (4, 4),
        f"{TEXT}text_model.prompt.weight": (4,),
    }
    harmless = {
        f"{TEXT}text_model.embeddings.position_ids": (1, 77),
        f"{TEXT}text_projection.weight": (768, 768),
        "cond_stage_model.logit_scale": (),
        f"{VAE}loss.discriminator.main.0.weight": (64, 3, 4, 4),
        "model_ema.decay": (),
        "betas": (1000,),
    }
    assert set(source_of(sd15 | strangers | harmless).unread()) == set(strangers)


# ------------------------------------------------------------------------------------- every edge


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "whole.safetensors"
    write_checkpoint(path, "tiny", seed=5)
    return load_file(path)


@pytest.fixture
def spoil(kept, tmp_path):
    def write(*gone, more=None):
        path = tmp_path / "spoiled.safetensors"
        tensors = {n: t for n, t in kept.items() if not any(g in n for g in gone)}
        save_file(tensors | (more or {}), path)
        return path

    return write


BIAS = f"{UNET}input_blocks.1.0.in_layers.0.bias"


def test_the_program_refuses_and_leaves_nothing(spoil, images, run, tmp_path):
    spoiled, out = spoil(BIAS), tmp_path / "out"
    out.mkdir()
    result = run(arguments(spoiled, images, out / "sks.safetensors"))
    refuses(result, "spoiled.safetensors: is not whole", BIAS, folder=out)
    picture = ["--prompt", "a dog", "--out", out / "a.png"]
    refuses(run(["sample", "--model", spoiled, *picture]), BIAS, folder=out)
    refuses(run(["inspect", spoiled]), BIAS)


def test_the_python_functions_refuse(spoil, images, tmp_path):
    spoiled = spoil(BIAS)
    with pytest.raises(zoodip.Error, match=re.escape(BIAS)):
        zoodip.train(spoiled, images, "sks", "dog", tmp_path / "a.safetensors", steps=1)
    with pytest.raises(zoodip.Error, match=re.escape(BIAS)):
        zoodip.sample(spoiled, "a dog", width=64, height=64, steps=1)
    with pytest.raises(zoodip.Error, match=re.escape(BIAS)):
        zoodip.inspect(spoiled)


def test_wired_weights_are_refused_before_one_is_pulled(kept, tmp_path):
    entries = [(n, t.shape, t.dtype) for n, t in kept.items() if n != BIAS]
    weights = graph.Weights("the wired model", entries, lambda name: 1 / 0)
    ids = torch.tensor([_native.Tokenizer().encode_prompt("a dog")])
    pixels = torch.zeros(64, 64, 3, dtype=torch.uint8)
    picture = graph.Picture("a.png", pixels, "0", "a {}", graph.Text(ids, [2]))
    with pytest.raises(zoodip.Error, match=f"the wired model: is not whole.*{re.escape(BIAS)}"):
        graph.train(
            weights,
            [picture],
            "sks",
            ("dog", 1929),
            tmp_path / "a.safetensors",
            empty_text=graph.Text(ids),
            settings={"steps": 1, "resolution": 64},
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_is_refused_too(images, tmp_path):
    folder = tmp_path / "model"
    write_diffusers_folder(folder, "tiny", seed=5)
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    gone = [n for n in tensors if "encoder.layers.1." in n]
    path.unlink()
    save_file({n: t for n, t in tensors.items() if n not in gone}, path)
    with pytest.raises(zoodip.Error, match="16 tensors are missing"):
        zoodip.train(folder, images, "sks", "dog", tmp_path / "a.safetensors", steps=1)
    config = json.loads((folder / "text_encoder" / "config.json").read_text())
    (folder / "text_encoder" / "config.json").write_text(
        json.dumps(config | {"num_hidden_layers": 1})
    )
    _native.open_weights(folder).require_whole(encoder=True, decoder=True)


def test_training_needs_no_decoder_but_for_previews(spoil, images, tmp_path, caplog):
    spoiled = spoil(f"{VAE}decoder.", f"{VAE}post_quant_conv.")
    quick = {"steps": 2, "resolution": 64, "validate_every": 0}
    # quant_conv without its other half belongs to an encoder without a decoder.
    result = zoodip.train(spoiled, images, "sks", "dog", tmp_path / "a.safetensors", **quick)
    assert result.finished and np.isfinite(result.loss)
    with pytest.raises(zoodip.Error, match="has no decoder, which pictures need"):
        zoodip.train(
            spoiled, images, "sks", "dog", tmp_path / "b.safetensors", preview_every=1, **quick
        )
    with pytest.raises(zoodip.Error, match="has no decoder"):
        zoodip.sample(spoiled, "a dog", width=64, height=64, steps=1)
    assert not caplog.records


def test_drawing_needs_no_encoder(spoil, kept, tmp_path):
    spoiled = spoil(f"{VAE}encoder.", f"{VAE}quant_conv.")
    save_file(kept, tmp_path / "whole.safetensors")
    options = {"width": 64, "height": 64, "steps": 1}
    drawn = [
        zoodip.sample(p, "a dog", **options) for p in (spoiled, tmp_path / "whole.safetensors")
    ]
    assert np.array_equal(*map(np.asarray, drawn))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(zoodip.Error, match="has no encoder, which training needs"):
        zoodip.train(spoiled, tmp_path, "sks", "dog", tmp_path / "a.safetensors", steps=1)


def test_unread_tensors_get_one_warning(spoil, images, tmp_path, caplog, run):
    more = {f"{UNET}extra.{i}.weight": torch.zeros(2) for i in range(7)}
    path = spoil(more=more)
    quick = {"steps": 1, "resolution": 64, "validate_every": 0}
    zoodip.train(path, images, "sks", "dog", tmp_path / "a.safetensors", **quick)
    (warning,) = [r.message for r in caplog.records]
    assert "7 tensors of the model are read by nothing" in warning
    assert f"'{UNET}extra.4.weight' and 2 more" in warning
    shown = run(["inspect", path]).stdout
    assert f"read by nothing: {UNET}extra.0.weight" in shown and "and 2 more" in shown
    assert sorted(zoodip.inspect(path)["unread"]) == sorted(more)
