"""Where weights come from, and what is said of files that are no checkpoint."""

import json
import struct

import pytest
import torch
from make_checkpoint import build_modules, to_original, write_checkpoint, write_diffusers_folder
from safetensors.torch import load_file, save_file
from zoodip import _native

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."


@pytest.fixture(scope="module", params=["tiny", "tiny-taesd"])
def shape(request):
    return request.param


@pytest.fixture(scope="module")
def tiny():
    """The smallest complete set of names; tests take a copy and spoil it."""
    return to_original(build_modules("tiny", seed=0))


def test_folder_and_file_give_the_same_tensors(shape, tmp_path):
    write_diffusers_folder(tmp_path / "folder", shape, seed=4)
    source = _native.open_weights(tmp_path / "folder")
    expected = to_original(build_modules(shape, seed=4))
    given = set(expected) - {f"{VAE}vae_scale", f"{VAE}vae_shift"}  # in a folder: its config
    assert set(source.names()) - {f"{TEXT}text_model.embeddings.position_ids"} == given
    for name in sorted(given):
        assert torch.equal(source.get(name).reshape(expected[name].shape), expected[name]), name
    architecture = source.architecture()
    assert architecture["vae"] == ("taesd" if shape == "tiny-taesd" else "kl")
    assert architecture["latent_scale"] == (1.0 if shape == "tiny-taesd" else 0.18215)
    assert architecture["unet_heads"] == 8
    assert architecture["text_width"] == 64


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
    from_file = _native.UNet(_native.open_weights(tmp_path / "m.safetensors"), weights="dense")
    rounded = {name: tensor.to(dtype).float() for name, tensor in tiny.items()}
    in_memory = _native.UNet(_native.weights_in_memory(rounded), weights="dense")
    inputs = torch.ones(1, 4, 8, 8), torch.tensor([5.0]), torch.ones(1, 77, 64)
    assert torch.equal(from_file.forward(*inputs), in_memory.forward(*inputs))


def test_share_that_int8_quantises(tiny):
    names = {n: t for n, t in tiny.items() if "position_ids" not in n}
    quantised = sum(
        t.numel()
        for n, t in names.items()
        if t.dim() in (2, 4) and n.endswith(".weight") and "_embedding.weight" not in n
    )
    total = sum(t.numel() for t in names.values())
    assert _native.weights_in_memory(tiny).quantised_share() == pytest.approx(quantised / total)


def refusal(tensors, metadata=None):
    with pytest.raises(_native.Error) as caught:
        _native.weights_in_memory(tensors, metadata or {}).architecture()
    return str(caught.value)


ONE = torch.zeros(4, 4)
OTHER_KINDS = {
    "lora_unet_down_blocks_0.lora_down.weight": "a LoRA",
    "unet.down_blocks.0.attn1.to_q.lora_A.weight": "a LoRA",
    "unet.mid.hada_w1_a": "a LoRA",
    "control_model.input_blocks.0.0.weight": "a ControlNet",
    "model.diffusion_model.joint_blocks.0.x.weight": "Stable Diffusion 3",
    "double_blocks.0.img_attn.qkv.weight": "Flux",
    "conditioner.embedders.0.transformer.weight": "Stable Diffusion XL",
    "cond_stage_model.model.transformer.weight": "Stable Diffusion 2.x",
    "emb_params": "a learned word",
    "clip_l": "a learned word",
    "text_model.embeddings.token_embedding.weight": "a text encoder alone",
    "encoder.conv_in.weight": "an autoencoder (VAE) alone",
    "taesd_encoder.0.weight": "a TAESD autoencoder alone",
    "down_blocks.0.resnets.0.conv1.weight": "a UNet alone",
    "model.diffusion_model.x.weight.absmax": "bitsandbytes",
    "model.diffusion_model.x.scale_weight": "scaled fp8",
    "something.else": "none of them of a known model",
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_other_kinds_are_named(name):
    message = refusal({name: ONE})
    assert OTHER_KINDS[name] in message
    assert "Stable Diffusion 1.x" in message


@pytest.mark.parametrize(
    ("root", "part"), [(UNET, "no UNet"), (TEXT, "no text encoder"), (VAE, "no autoencoder")]
)
def test_a_missing_part_is_named(tiny, root, part):
    assert part in refusal({n: t for n, t in tiny.items() if not n.startswith(root)})


@pytest.mark.parametrize(
    ("channels", "what"), [(9, "inpainting"), (8, "InstructPix2Pix"), (5, "takes 5 channels")]
)
def test_other_inputs_are_named(tiny, channels, what):
    name = f"{UNET}input_blocks.0.0.weight"
    assert what in refusal(tiny | {name: torch.zeros(32, channels, 3, 3)})


def test_numbers_that_are_quantised_already(tiny):
    name = f"{UNET}middle_block.0.in_layers.2.weight"
    fp8 = refusal(tiny | {name: tiny[name].to(torch.float8_e4m3fn)})
    assert "Float8_e4m3fn" in fp8
    assert "fp16, bf16 or fp32" in fp8
    assert "Char" in refusal(tiny | {name: tiny[name].to(torch.int8)})


def test_parts_of_different_models(tiny):
    name = f"{TEXT}text_model.embeddings.token_embedding.weight"
    assert "different models" in refusal(tiny | {name: torch.zeros(49408, 32)})


def test_heads_follow_metadata(tiny):
    source = _native.weights_in_memory(tiny, {"zoodip.unet_heads": "4", "zoodip.text_heads": "2"})
    assert source.architecture()["unet_heads"] == 4
    assert source.architecture()["text_heads"] == 2
    assert "do not divide" in refusal(tiny, {"zoodip.unet_heads": "7"})
    assert "predicts 'sample'" in refusal(tiny, {"zoodip.prediction_type": "sample"})


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(_native.Error, match="without unet/"):
        _native.open_weights(tmp_path)
    (tmp_path / "unet").mkdir()
    with pytest.raises(_native.Error, match="has no unet/diffusion_pytorch_model.safetensors"):
        _native.open_weights(tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(_native.Error, match="Python pickle"):
        _native.open_weights(tmp_path)
    with pytest.raises(_native.Error, match="there is no"):
        _native.open_weights(tmp_path / "nowhere")


def test_a_missing_tensor_is_named(tiny):
    name = f"{UNET}middle_block.1.transformer_blocks.0.attn1.to_k.weight"
    with pytest.raises(_native.Error, match="has no tensor '.*attn1.to_k.weight'"):
        _native.UNet(_native.weights_in_memory({n: t for n, t in tiny.items() if n != name}))


def test_reads_what_the_reference_library_writes(tmp_path):
    tensors = {"a": torch.randn(3, 5), "b": torch.arange(4), "c": torch.randn(2).bfloat16()}
    save_file(tensors, tmp_path / "t.safetensors", metadata={"k": "v"})
    source = _native.open_weights(tmp_path / "t.safetensors")
    assert source.names() == ["a", "b", "c"]
    assert source.metadata()["k"] == "v"
    for name, tensor in load_file(tmp_path / "t.safetensors").items():
        assert torch.equal(source.get(name), tensor)


def test_a_type_that_is_not_supported(tmp_path):
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "f.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    with pytest.raises(_native.Error, match="type F4, which is not supported"):
        _native.open_weights(tmp_path / "f.safetensors")
