"""Checkpoints whose layers newer versions of ComfyUI have made int8 (`int8_tensorwise`)."""

import json

import pytest
import torch
import zoodip
from make_checkpoint import build_modules, to_original
from safetensors.torch import save_file
from zoodip import _native

UNET = "model.diffusion_model."
PLAIN = {"format": "int8_tensorwise"}


def quantise(weight, by_row):
    """Integers and scale as comfy-kitchen makes them: max |W| / 127 of a row or of all."""
    largest = weight.abs().amax(1, keepdim=True) if by_row else weight.abs().max()
    scale = largest / 127
    return (weight / scale).round().clamp(-128, 127).to(torch.int8), scale


def described(description):
    return torch.tensor(list(json.dumps(description).encode()), dtype=torch.uint8)


def linear_layers(tensors):
    return [name for name in tensors if name.startswith(UNET) and tensors[name].dim() == 2]


@pytest.fixture(scope="module")
def tensors():
    return to_original(build_modules("tiny", seed=6))


def in_int8(tensors):
    """Every other linear layer with one scale, the others with one a row."""
    state = dict(tensors)
    for index, name in enumerate(linear_layers(tensors)):
        state[name], state[f"{name}_scale"] = quantise(tensors[name], by_row=index % 2 == 1)
        state[name.replace(".weight", ".comfy_quant")] = described(PLAIN)
    return state


def dequantised(state):
    return {
        name: tensor.float() * state[f"{name}_scale"] if tensor.dtype == torch.int8 else tensor
        for name, tensor in state.items()
        if not name.endswith(("_scale", ".comfy_quant"))
    }


def predict(state, weights, compute="fp32"):
    unet = _native.UNet(_native.weights_in_memory(state), weights=weights, compute=compute)
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(1, 4, 16, 16, generator=generator)
    context = torch.randn(1, 77, 64, generator=generator)
    return unet.forward(z, torch.tensor([300.0]), context)


def test_dense_weights_are_what_the_integers_stand_for(tensors):
    state = in_int8(tensors)
    assert torch.equal(predict(state, "dense"), predict(dequantised(state), "dense"))


def test_integers_stay_as_they_are(tensors):
    """Rounded anew, rows whose largest integer is below 127 would become others. Against them as
    dense float32 weights beside convolutions in int8: sums in another order, 1e-5 of the scale."""
    state = in_int8(tensors)
    convolutions = {
        name: tensor
        for name, tensor in state.items()
        if name.startswith(UNET) and tensor.dim() == 4 and min(tensor.shape[:2]) >= 16
    }
    rounded = {}
    for name, tensor in convolutions.items():
        q, scale = quantise(tensor.flatten(1), by_row=True)
        rounded[name] = (q * scale).view(tensor.shape)
    ends = {  # few channels: the engine keeps them in int8 too
        name: quantise(state[name].flatten(1), by_row=True)
        for name in (f"{UNET}input_blocks.0.0.weight", f"{UNET}out.2.weight")
    }
    rounded |= {name: (q * s).view(state[name].shape) for name, (q, s) in ends.items()}
    expected = predict(dequantised(state) | rounded, "dense")
    ours = predict(state, "int8")
    anew = predict(dequantised(state), "int8")
    scale = expected.abs().max()
    assert (ours - expected).abs().max() <= 1e-5 * scale
    assert (anew - expected).abs().max() > 1e-4 * scale


def test_a_word_is_learned_and_the_file_described(tensors, images, tmp_path):
    path = tmp_path / "int8.safetensors"
    save_file(in_int8(tensors), path, metadata={"format": "pt"})
    settings = {"steps": 2, "resolution": 64, "compute": "fp32"}
    result = zoodip.train(path, images, "zwx", "dog", tmp_path / "zwx.safetensors", **settings)
    assert result.finished
    assert zoodip.inspect(path)["parts"]


def test_the_file_s_own_metadata_may_describe_its_layers(tensors, images, tmp_path):
    state = {n: t for n, t in in_int8(tensors).items() if not n.endswith(".comfy_quant")}
    layers = {name.removesuffix(".weight"): PLAIN for name in linear_layers(tensors)}
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    save_file(state, tmp_path / "plain.safetensors", metadata=metadata)
    assert zoodip.inspect(tmp_path / "plain.safetensors")["parts"]
    layers[next(iter(layers))] = PLAIN | {"convrot": True}
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    save_file(state, tmp_path / "rotated.safetensors", metadata=metadata)
    with pytest.raises(zoodip.Error, match="convrot"):
        zoodip.inspect(tmp_path / "rotated.safetensors")


def change(state, name, key):
    """A damaged or foreign state."""
    layer = name.removesuffix(".weight")
    if key == "rotated":
        state[f"{layer}.comfy_quant"] = described(PLAIN | {"params": {"convrot": True}})
    elif key == "of another format":
        state[f"{layer}.comfy_quant"] = described({"format": "nvfp4"})
    elif key == "not JSON":
        state[f"{layer}.comfy_quant"] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    elif key == "with scaled inputs":
        state[f"{layer}.pre_quant_scale"] = torch.ones(8)
    elif key == "without scales":
        del state[f"{name}_scale"]
    elif key == "scales of another size":
        state[f"{name}_scale"] = torch.ones(3)
    elif key == "a scale that is no number":
        state[f"{name}_scale"] = torch.full((1,), float("nan"))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("rotated", "was rotated before it was quantised"),
        ("of another format", 'is quantised as "nvfp4"'),
        ("not JSON", "is quantised as nothing known"),
        ("with scaled inputs", "before it is quantised"),
        ("without scales", "is stored as Char"),
        ("scales of another size", "expected one number or"),
        ("a scale that is no number", "NaN or infinity"),
    ],
)
def test_other_and_damaged_files_are_refused_by_name(tensors, images, tmp_path, key, says):
    state = in_int8(tensors)
    name = linear_layers(tensors)[0]
    change(state, name, key)
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    with pytest.raises(zoodip.Error, match=says) as failed:
        zoodip.train(path, images, "zwx", "dog", tmp_path / "zwx.safetensors", steps=1)
    assert name.removesuffix(".weight") in str(failed.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
