"""What is said of quantising a model: shares, bytes, errors, against optimum-quanto's."""

from __future__ import annotations

import json
import re

import pytest
import torch
import zoodip
from make_checkpoint import write_checkpoint
from optimum.quanto import freeze, qint4, qint8, quantize
from torch import nn
from zoodip import Error, _native

PARTS = {
    "unet": "model.diffusion_model.",
    "text_encoder": "cond_stage_model.transformer.",
    "vae": "first_stage_model.",
}


@pytest.fixture(scope="module")
def kl_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("kl") / "tiny.safetensors"
    write_checkpoint(path, "tiny", seed=6)
    return path


def quanto_error(weight: torch.Tensor, qtype) -> float:
    outputs, inputs, *kernel = weight.shape
    layer = nn.Conv2d(inputs, outputs, kernel) if kernel else nn.Linear(inputs, outputs)
    layer.weight = nn.Parameter(weight)
    model = nn.Sequential(layer)
    quantize(model, weights=qtype)
    freeze(model)
    return ((model[0].weight.dequantize().double() - weight).norm() / weight.double().norm()).item()


def is_layer(name: str, tensor: torch.Tensor) -> bool:
    return name.endswith(".weight") and tensor.dim() in (2, 4) and "_embedding" not in name


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_equal_to_quanto(kl_model, weights):
    report = zoodip.inspect(kl_model, quant=True, weights=weights)["quant"]
    assert report["weights"] == weights
    source = _native.open_weights(kl_model)
    for part, root in PARTS.items():
        names = [n for n in source.names() if n.startswith(root) and "position_ids" not in n]
        tensors = {name: source.get(name) for name in names}
        layers = {name: t for name, t in tensors.items() if is_layer(name, t)}
        own = "int4" if weights == "int4" and part == "unet" else "int8"
        qtype = {"int8": qint8, "int4": qint4}[own]
        errors = {name: quanto_error(t.float(), qtype) for name, t in layers.items()}
        said = report["parts"][part]
        assert said["weights"] == own
        assert said["parameters"] == sum(t.numel() for t in tensors.values())
        assert said["quantised"] == sum(t.numel() for t in layers.values())
        assert said["share"] == said["quantised"] / said["parameters"]
        assert said["bytes_before"] == sum(t.nbytes for t in tensors.values())
        assert said["layers"] == len(layers)
        # Norms in float64 of the same float32 numbers: nothing but the last digits differs.
        assert said["mean_error"] == pytest.approx(sum(errors.values()) / len(errors), rel=1e-9)
        assert said["worst_error"] == pytest.approx(max(errors.values()), rel=1e-9)
        assert said["worst_layer"] == max(errors, key=errors.get)
    assert report["all"]["worst_error"] == max(p["worst_error"] for p in report["parts"].values())
    for sum_of in ("parameters", "quantised", "bytes_before", "bytes_after", "layers"):
        assert report["all"][sum_of] == sum(p[sum_of] for p in report["parts"].values())


def test_bytes_in_memory(kl_model):
    """What the report says is what the packed weights take, a float16 table, and float32."""
    source = _native.open_weights(kl_model)
    report = zoodip.inspect(kl_model, quant=True, weights="int4")["quant"]["parts"]
    for part, root in PARTS.items():
        expected = 0
        for name in source.names():
            if not name.startswith(root) or "position_ids" in name:
                continue
            tensor = source.get(name)
            if is_layer(name, tensor):
                expected += _native.quantize(tensor.float(), report[part]["weights"]).bytes()
            else:
                expected += tensor.numel() * (2 if "token_embedding" in name else 4)
        assert report[part]["bytes_after"] == expected
    unet = report["unet"]
    assert 0.5 < unet["bytes_after"] / unet["quantised"] < 0.8


def test_dense_weights_have_no_report(kl_model, model):
    with pytest.raises(Error, match="dense ones are not quantised, choose int8 or int4"):
        zoodip.inspect(kl_model, quant=True, weights="dense")
    assert "quant" not in zoodip.inspect(kl_model)
    taesd = zoodip.inspect(model, quant=True)
    assert taesd["quant"]["all"]["share"] == pytest.approx(taesd["quantised_share"])


def test_the_program_says_the_same(run, model):
    words = ["inspect", str(model), "--quant", "--weights", "int4"]
    report = zoodip.inspect(model, quant=True, weights="int4")
    assert json.loads(run([*words, "--json"]).stdout) == json.loads(json.dumps(report))
    told = run(words).stdout
    for name, part in {**report["quant"]["parts"], "all": report["quant"]["all"]}.items():
        (line,) = re.findall(rf"^  {name} .*%  .*$", told, re.MULTILINE)
        assert f"{100 * part['share']:.1f} %" in line
        assert f"{part['worst_error']:.5f}  {part['worst_layer']}" in line
