"""Where weights come from, what they are told to be, and what is said of everything else."""

import dataclasses
import json
import os
import shutil
import struct

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from make_checkpoint import (
    SHAPES,
    Modules,
    build_modules,
    find_shape,
    to_original,
    write_checkpoint,
    write_diffusers_folder,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel
from zoodip import _native

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
WEIGHTS = "diffusion_pytorch_model"
ONE = torch.zeros(4, 4)

# The blocks of SD 1.5, as narrow as group norm allows: what numbers them is the same.
NARROW = dataclasses.replace(
    SHAPES["sd15"],
    unet=SHAPES["sd15"].unet | {"block_out_channels": (32,) * 4, "cross_attention_dim": 64},
    text_encoder=SHAPES["tiny"].text_encoder,
    vae=SHAPES["sd15"].vae | {"block_out_channels": (32,) * 4},
)


@pytest.fixture(scope="module", params=["tiny", "tiny-taesd"])
def shape(request):
    return request.param


@pytest.fixture(scope="module")
def tiny():
    """The smallest complete set of names; tests take a copy and spoil it."""
    return to_original(build_modules("tiny", seed=0))


# --------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("shape", ["tiny", "tiny-taesd", NARROW], ids=["tiny", "taesd", "narrow"])
def test_folder_and_file_give_the_same_tensors(shape, tmp_path):
    write_diffusers_folder(tmp_path / "folder", shape, seed=4)
    write_checkpoint(tmp_path / "file.safetensors", shape, 4, torch.float32, extras=False)
    folder = _native.open_weights(tmp_path / "folder")
    file = _native.open_weights(tmp_path / "file.safetensors")
    scalars = {f"{VAE}vae_scale", f"{VAE}vae_shift"}  # in a folder: its configuration
    positions = {f"{TEXT}text_model.embeddings.position_ids"}
    names = set(file.names()) - scalars - positions
    assert set(folder.names()) - positions == names
    for name in sorted(names):
        stored = file.get(name)
        assert folder.info(name)[1] == stored.dtype
        # diffusers keeps the autoencoder's attention linear, original files have 1x1 convolutions.
        if f"{VAE}encoder.mid.attn_1" in name or f"{VAE}decoder.mid.attn_1" in name:
            stored = stored.flatten(1) if stored.dim() == 4 else stored
        assert torch.equal(folder.get(name), stored), name
    found, expected = folder.architecture(), file.architecture()
    # Those of a folder, and what told them, are its configurations'.
    for architecture in (found, expected):
        del architecture["prediction_reason"]
        for encoder in architecture["text_encoders"]:
            del encoder["layers"]
    assert found.pop("text_encoders") == expected.pop("text_encoders")
    assert found == pytest.approx(expected)
    assert folder.architecture()["latent_scale"] == (
        1.0 if find_shape(shape).taesd else find_shape(shape).vae["scaling_factor"]
    )
    _native.UNet(folder, weights="dense")


def test_real_files_carry_more_than_weights(shape, tmp_path):
    write_checkpoint(tmp_path / "model.safetensors", shape, extras=True)
    source = _native.open_weights(tmp_path / "model.safetensors")
    assert any(name.startswith("model_ema.") for name in source.names())
    architecture = source.architecture()
    assert architecture["family"] == "Stable Diffusion 1.x"
    assert architecture["latent_scale"] == pytest.approx(1.0 if "taesd" in shape else 0.18215)
    _native.UNet(source)  # int64 and extra entries are no obstacle
    _native.TextEncoder(source, heads=1)


def test_text_encoder_names_without_text_model(tiny):
    renamed = {name.replace("text_model.", ""): tensor for name, tensor in tiny.items()}
    source = _native.weights_in_memory(renamed)
    assert source.architecture()["text_width"] == 64
    plain = _native.TextEncoder(_native.weights_in_memory(tiny), heads=1)
    ids = torch.full((1, 77), 49407)
    assert torch.equal(_native.TextEncoder(source, heads=1).forward(ids)[0], plain.forward(ids)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_stored_types(tiny, dtype, tmp_path):
    stored = {name: tensor.to(dtype).contiguous() for name, tensor in tiny.items()}
    save_file(stored, tmp_path / "m.safetensors")
    source = _native.open_weights(tmp_path / "m.safetensors")
    name = f"{UNET}out.2.weight"
    assert source.info(name) == (list(tiny[name].shape), dtype)
    from_file = _native.UNet(source, weights="dense")
    rounded = {name: tensor.to(dtype).float() for name, tensor in tiny.items()}
    in_memory = _native.UNet(_native.weights_in_memory(rounded), weights="dense")
    inputs = torch.ones(1, 4, 8, 8), torch.tensor([5.0]), torch.ones(1, 77, 64)
    assert torch.equal(from_file.forward(*inputs), in_memory.forward(*inputs))


def test_reads_what_the_reference_library_writes(tmp_path):
    tensors = {"a": torch.randn(3, 5), "b": torch.arange(4), "c": torch.randn(2).bfloat16()}
    save_file(tensors, tmp_path / "t.safetensors", metadata={"k": "v"})
    source = _native.open_weights(tmp_path / "t.safetensors")
    assert source.names() == ["a", "b", "c"]
    assert source.metadata()["k"] == "v"
    for name, tensor in load_file(tmp_path / "t.safetensors").items():
        assert torch.equal(source.get(name), tensor)
        assert source.info(name) == (list(tensor.shape), tensor.dtype)
    with pytest.raises(_native.Error, match="has no tensor 'd'"):
        source.info("d")


def test_a_file_says_itself_what_shapes_do_not(tiny, tmp_path):
    metadata = {"zoodip.prediction_type": "v_prediction", "zoodip.latent_shift": "0.5"}
    save_file({n: t.contiguous() for n, t in tiny.items()}, tmp_path / "m.safetensors", metadata)
    architecture = _native.open_weights(tmp_path / "m.safetensors").architecture()
    assert architecture["prediction"] == "v"
    assert architecture["latent_shift"] == 0.5


# ------------------------------------------------------------------------------------- inventory


def test_share_that_int8_quantises(tiny):
    names = {n: t for n, t in tiny.items() if "position_ids" not in n}
    quantised = sum(
        t.numel()
        for n, t in names.items()
        if t.dim() in (2, 4) and n.endswith(".weight") and "_embedding.weight" not in n
    )
    total = sum(t.numel() for t in names.values())
    assert _native.weights_in_memory(tiny).quantised_share() == pytest.approx(quantised / total)


def test_inventory_of_stable_diffusion_1_5():
    """Against the published numbers of parameters; 96.4 % of them are Linear or Conv2d weights."""
    shape = SHAPES["sd15"]
    with torch.device("meta"):
        modules = Modules(
            UNet2DConditionModel(**shape.unet),
            CLIPTextModel(CLIPTextConfig(**shape.text_encoder)),
            AutoencoderKL(**shape.vae),
        )
    source = _native.weights_in_memory(to_original(modules))
    inventory = source.inventory()
    assert inventory["unet"]["parameters"] == 859_520_964
    assert inventory["unet"]["tensors"] == 686
    assert inventory["unet"]["bytes"] == {"Float": 4 * 859_520_964}
    assert inventory["text_encoder"]["parameters"] == 123_060_480
    assert inventory["text_encoder"]["table"] == 49408 * 768
    vae = [inventory[half]["parameters"] for half in ("vae_encoder", "vae_decoder")]
    assert sum(vae) == 83_653_863
    assert source.quantised_share() == pytest.approx(0.964, abs=5e-4)


# -------------------------------------------------------------------------------------- refusals


def refusal(tensors, metadata=None):
    with pytest.raises(_native.Error) as caught:
        _native.weights_in_memory(tensors, metadata or {}).architecture()
    return str(caught.value)


OTHER_KINDS = {
    "lora_unet_down_blocks_0.lora_down.weight": "a LoRA",
    "lora_te_text_model_encoder.alpha": "a LoRA",
    "unet.down_blocks.0.attn1.to_q.lora_A.weight": "a LoRA",
    "down_blocks.0.attn1.processor.to_q_lora.down.weight": "a LoRA",
    "unet.mid.hada_w1_a": "a LoRA (LoHa)",
    "unet.mid.lokr_w1": "a LoRA (LoKr)",
    "control_model.input_blocks.0.0.weight": "a ControlNet",
    "controlnet_cond_embedding.conv_in.weight": "a ControlNet",
    "model.diffusion_model.joint_blocks.0.x.weight": "Stable Diffusion 3",
    "double_blocks.0.img_attn.qkv.weight": "Flux",
    "conditioner.embedders.1.model.transformer.weight": "a text encoder alone",
    "model.diffusion_model.label_emb.0.0.weight": "a UNet alone",
    "cond_stage_model.model.transformer.weight": "a text encoder alone",
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.fuser.linear.weight": "GLIGEN",
    "model.diffusion_model.position_net.linears.0.weight": "GLIGEN",
    "model.diffusion_model.time_embed.cond_proj.weight": "a latent consistency model",
    "emb_params": "a learned word",
    "string_to_param.*": "a learned word",
    "clip_l": "a learned word",
    "text_model.embeddings.token_embedding.weight": "a text encoder alone",
    "embeddings.token_embedding.weight": "a text encoder alone",
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": "a text encoder alone",
    "encoder.block.0.layer.0.SelfAttention.k.weight": "a T5 text encoder alone",
    "encoder.conv_in.weight": "an autoencoder (VAE) alone",
    "decoder.conv_in.weight": "an autoencoder (VAE) alone",
    "first_stage_model.decoder.conv_in.weight": "an autoencoder (VAE) alone",
    "taesd_encoder.0.weight": "a TAESD autoencoder alone",
    "down_blocks.0.resnets.0.conv1.weight": "a UNet alone",
    "input_blocks.0.0.weight": "a UNet alone",
    "model.diffusion_model.input_blocks.0.0.weight": "a UNet alone",
    "model.diffusion_model.x.weight.absmax": "bitsandbytes",
    "model.diffusion_model.x.scale_weight": "scaled fp8",
    "model.diffusion_model.scaled_fp8": "scaled fp8",
    "model.diffusion_model.x.weight_scale": "scaled fp8",
    "model.diffusion_model.x.qweight": "GPTQ",
    "model.diffusion_model.x.weight._data": "quanto",
    "something.else": "none of them of a known model",
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_other_kinds_are_named(name):
    message = refusal({name: ONE})
    assert OTHER_KINDS[name] in message
    assert "fp16" in message or "Stable Diffusion 1.x, 2.x and XL" in message


@pytest.mark.parametrize("size", [(768,), (4, 768), (1024,)])
def test_a_word_under_a_name_of_its_own(size):
    assert "a learned word" in refusal({"<cat-toy>": torch.zeros(size)})
    assert "known model" in refusal({"<cat-toy>": torch.zeros(size), "other": ONE})


@pytest.mark.parametrize(
    ("root", "part"), [(UNET, "no UNet"), (TEXT, "no text encoder"), (VAE, "no autoencoder")]
)
def test_a_missing_part_is_named(tiny, root, part):
    assert part in refusal({n: t for n, t in tiny.items() if not n.startswith(root)})


@pytest.mark.parametrize(
    ("channels", "what"), [(9, "inpainting"), (8, "InstructPix2Pix"), (5, "depth"), (6, "takes 6")]
)
def test_other_inputs_are_named(tiny, channels, what):
    name = f"{UNET}input_blocks.0.0.weight"
    assert what in refusal(tiny | {name: torch.zeros(32, channels, 3, 3)})


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
def test_numbers_that_are_quantised_already(tiny, dtype, tmp_path):
    name = f"{UNET}middle_block.0.in_layers.2.weight"
    tensors = {n: t.contiguous() for n, t in tiny.items()} | {name: tiny[name].to(dtype)}
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(_native.Error) as caught:
        _native.open_weights(tmp_path / "m.safetensors").architecture()
    assert name in str(caught.value)
    assert "m.safetensors" in str(caught.value)
    assert "fp16, bf16 or fp32" in str(caught.value)


def test_parts_of_different_models(tiny):
    name = f"{TEXT}text_model.embeddings.token_embedding.weight"
    assert "different models" in refusal(tiny | {name: torch.zeros(49408, 32)})


def test_heads_follow_metadata(tiny):
    source = _native.weights_in_memory(tiny, {"zoodip.unet_heads": "4", "zoodip.text_heads": "2"})
    assert source.architecture()["unet_heads"] == 4
    assert source.architecture()["text_encoders"][0]["heads"] == 2
    assert "do not divide" in refusal(tiny, {"zoodip.unet_heads": "7"})
    assert "predicts 'sample'" in refusal(tiny, {"zoodip.prediction_type": "sample"})


def test_a_missing_tensor_is_named(tiny):
    name = f"{UNET}middle_block.1.transformer_blocks.0.attn1.to_k.weight"
    with pytest.raises(_native.Error, match="has no tensor '.*attn1.to_k.weight'"):
        _native.UNet(_native.weights_in_memory({n: t for n, t in tiny.items() if n != name}))


def test_a_type_that_is_not_supported(tmp_path):
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "f.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    with pytest.raises(_native.Error, match="type F4, which is not supported"):
        _native.open_weights(tmp_path / "f.safetensors")


@pytest.mark.parametrize(("start", "what"), [(b"PK\x03\x04", "pickle"), (b"GGUF", "GGUF")])
def test_other_formats_are_named(start, what, tmp_path):
    (tmp_path / "model.ckpt").write_bytes(start + bytes(64))
    with pytest.raises(_native.Error, match=what):
        _native.open_weights(tmp_path / "model.ckpt")


# --------------------------------------------------------------------------------------- folders


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    write_diffusers_folder(path, "tiny")
    return path


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to spoil; files are shared with the original and have to be replaced as a whole."""
    return shutil.copytree(saved, tmp_path / "model", copy_function=os.link)


def configure(folder, part, file="config.json", **values):
    path = folder / part / file
    config = json.loads(path.read_text()) if path.exists() else {}
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(config | values))


def change_tensors(folder, part, change, stem=WEIGHTS):
    path = folder / part / f"{stem}.safetensors"
    tensors = load_file(path)
    path.unlink()
    save_file(change(tensors), path)


def folder_refusal(folder):
    with pytest.raises(_native.Error) as caught:
        _native.open_weights(folder).architecture()
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_configurations_say_what_shapes_do_not(folder):
    configure(folder, "unet", attention_head_dim=[4, 4, 4], num_attention_heads=None)
    configure(folder, "text_encoder", num_attention_heads=2)
    configure(folder, "scheduler", "scheduler_config.json", prediction_type="v_prediction")
    configure(folder, "vae", scaling_factor=0.25, shift_factor=-0.5)
    architecture = _native.open_weights(folder).architecture()
    assert architecture["unet_heads"] == 4
    assert architecture["text_encoders"][0]["heads"] == 2
    assert architecture["prediction"] == "v"
    assert (architecture["latent_scale"], architecture["latent_shift"]) == (0.25, -0.5)
    configure(folder, "unet", num_attention_heads=2)  # goes before attention_head_dim
    assert _native.open_weights(folder).architecture()["unet_heads"] == 2


def test_a_folder_without_configurations_has_the_defaults(folder):
    for path in [*folder.glob("*/*.json"), folder / "model_index.json"]:
        path.unlink()
    architecture = _native.open_weights(folder).architecture()
    assert architecture["unet_heads"] == 8
    assert architecture["prediction"] == "epsilon"
    assert (architecture["latent_scale"], architecture["latent_shift"]) == (0.18215, 0)


@pytest.mark.parametrize(
    ("part", "values", "what"),
    [
        ("unet", {"attention_head_dim": [5, 10, 20, 20]}, "number of heads"),
        ("unet", {"attention_head_dim": "many"}, "number of heads"),
        ("text_encoder", {"hidden_act": "relu"}, "uses relu"),
        ("text_encoder", {"hidden_act": 5}, "uses 5"),
        ("vae", {"scaling_factor": "large"}, "expected a number"),
        ("vae", {"shift_factor": [0.1, 0.2]}, "expected a number"),
    ],
)
def test_configurations_that_do_not_fit(folder, part, values, what):
    configure(folder, part, **values)
    assert what in folder_refusal(folder)


def test_a_damaged_configuration_is_named(folder):
    (folder / "vae" / "config.json").unlink()
    (folder / "vae" / "config.json").write_text("{")
    assert "config.json: is not a JSON object" in folder_refusal(folder)


def test_values_of_null_are_defaults(folder):
    configure(folder, "vae", scaling_factor=None, shift_factor=None)
    configure(folder, "text_encoder", hidden_act=None)
    assert _native.open_weights(folder).architecture()["latent_scale"] == 0.18215


def test_half_precision_variant(folder):
    for part, stem in [("unet", WEIGHTS), ("text_encoder", "model"), ("vae", WEIGHTS)]:
        path = folder / part / f"{stem}.safetensors"
        path.rename(path.with_name(f"{stem}.fp16.safetensors"))
    assert _native.open_weights(folder).architecture()["text_width"] == 64


def test_older_names_of_folders(folder, saved):
    """The autoencoder's attention before diffusers 0.12, the text encoder before transformers 5."""
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename_attention(tensors):
        for new, old in older.items():
            tensors = {n.replace(f".{new}.", f".{old}."): t for n, t in tensors.items()}
        assert any(".proj_attn." in name for name in tensors)
        return tensors

    expected = _native.open_weights(saved)
    change_tensors(folder, "vae", rename_attention)
    for prefix in ("text_model.", ""):
        change_tensors(
            folder,
            "text_encoder",
            lambda tensors, prefix=prefix: {
                prefix + n.removeprefix("text_model."): t for n, t in tensors.items()
            },
            stem="model",
        )
        source = _native.open_weights(folder)
        assert source.names() == expected.names()
        name = f"{VAE}decoder.mid.attn_1.proj_out.weight"
        assert torch.equal(source.get(name), expected.get(name))


def test_one_tensor_under_two_names(folder):
    def double(tensors):
        name = next(n for n in tensors if n.endswith("final_layer_norm.bias"))
        plain = name.removeprefix("text_model.")
        return tensors | {plain: tensors[name].clone(), f"text_model.{plain}": tensors[name]}

    change_tensors(folder, "text_encoder", double, stem="model")
    assert "another of its names" in folder_refusal(folder)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("position_net.linears.0.weight", "GLIGEN"),
        ("time_embedding.cond_proj.weight", "a latent consistency model"),
        ("mid_block.attentions.0.transformer_blocks.0.fuser.linear.weight", "GLIGEN"),
    ],
)
def test_other_unets_in_a_folder(folder, name, what):
    change_tensors(folder, "unet", lambda tensors: tensors | {name: ONE})
    assert what in folder_refusal(folder)


@pytest.mark.parametrize(
    ("part", "stem", "pickled"),
    [("unet", WEIGHTS, f"{WEIGHTS}.fp16.bin"), ("text_encoder", "model", "pytorch_model.bin")],
)
def test_folders_of_pickles(folder, part, stem, pickled):
    (folder / part / f"{stem}.safetensors").rename(folder / part / pickled)
    message = folder_refusal(folder)
    assert f"{part}/{stem}.safetensors is missing" in message
    assert "pickle" in message
    assert "safe_serialization=True" in message


def test_folders_of_shards(folder):
    path = folder / "unet" / f"{WEIGHTS}.safetensors"
    path.rename(path.with_name(f"{WEIGHTS}-00001-of-00002.safetensors"))
    (folder / "unet" / f"{WEIGHTS}.safetensors.index.json").write_text("{}")
    assert "weights of unet are split over several files" in folder_refusal(folder)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_a_folder_without_a_part(folder, part):
    shutil.rmtree(folder / part)
    message = folder_refusal(folder)
    assert f"without {part}/" in message or f"has no {part}/" in message


@pytest.mark.parametrize(
    ("part", "what"),
    [("unet", "a UNet alone"), ("text_encoder", "a text encoder alone"), ("vae", "(VAE) alone")],
)
def test_a_part_instead_of_the_folder(saved, part, what):
    assert what in folder_refusal(saved / part)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("StableDiffusion3Pipeline", "Stable Diffusion 3"),
        ("FluxPipeline", "Flux"),
    ],
)
def test_folders_of_other_pipelines(folder, name, what):
    configure(folder, "", "model_index.json", _class_name=name)
    assert f"is {what}" in folder_refusal(folder)


def test_folders_of_adapters(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    assert "a ControlNet" in folder_refusal(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "pytorch_lora_weights.safetensors").touch()
    assert "a LoRA" in folder_refusal(tmp_path)
    (tmp_path / "pytorch_lora_weights.safetensors").unlink()
    (tmp_path / "learned_embeds.safetensors").touch()
    assert "a learned word" in folder_refusal(tmp_path)


def test_paths_that_are_no_model(tmp_path):
    with pytest.raises(_native.Error, match="without unet/"):
        _native.open_weights(tmp_path)
    (tmp_path / "unet").mkdir()
    with pytest.raises(_native.Error, match=f"has no unet/{WEIGHTS}.safetensors"):
        _native.open_weights(tmp_path)
    with pytest.raises(_native.Error, match="there is no"):
        _native.open_weights(tmp_path / "nowhere")
