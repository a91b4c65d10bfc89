"""The noise schedule of a model is its own: that of a folder's scheduler, of a file's metadata, or
the one chosen. The oracle is diffusers' schedulers."""

from __future__ import annotations

import json
import math
import os
import shutil

import diffusers
import numpy as np
import pytest
import torch
import zoodip
from diffusers import DDIMScheduler
from make_checkpoint import build_modules, to_original, write_checkpoint, write_diffusers_folder
from program import arguments, refuses
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from zoodip import _native, graph

CONFIG = "scheduler_config.json"
STANDARD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LAST = 2**-24  # instead of 0, as diffusers' solvers have it
QUICK = {"steps": 3, "resolution": 64, "validate_every": 0, "tau": 4}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    write_diffusers_folder(path, "tiny", seed=3)
    return path


@pytest.fixture
def folder(saved, tmp_path):
    """A copy whose configurations may be replaced."""
    return shutil.copytree(saved, tmp_path / "model", copy_function=os.link)


def configure(folder, config, part="scheduler", file=CONFIG):
    path = folder / part / file
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(config))
    return folder


def change(folder, part, **values):
    path = folder / part / "config.json"
    return configure(folder, json.loads(path.read_text()) | values, part, "config.json")


def schedule_of(path, **settings):
    return _native.alphas_cumprod(_native.open_weights(path), json.dumps(settings))


def refusal(path):
    with pytest.raises(_native.Error) as caught:
        _native.open_weights(path).architecture()
    return str(caught.value)


# ------------------------------------------------------------------------------ diffusers folders

OWN = [
    STANDARD,
    STANDARD | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    {"beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.01},
    {"beta_schedule": "linear", "rescale_betas_zero_snr": True},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "scaled_linear", "beta_start": 0.0005, "beta_end": 0.02},
    {"trained_betas": np.linspace(0.001, 0.015, 1000).tolist()},
    {},
]


@pytest.mark.parametrize("config", OWN, ids=range(len(OWN)))
def test_the_schedule_of_a_folder_is_that_of_diffusers(folder, config):
    (folder / "scheduler" / CONFIG).unlink()  # shared with the other tests' folder
    DDIMScheduler(**config).save_pretrained(folder / "scheduler")
    expected = DDIMScheduler(**config).alphas_cumprod.double().numpy()
    ours = np.array(schedule_of(folder))
    if config.get("rescale_betas_zero_snr"):
        assert expected[-1] == 0 and 0 < ours[-1] <= LAST
        ours, expected = ours[:-1], expected[:-1]
    # Theirs is a product of 1000 float32 numbers.
    assert np.allclose(ours, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "DDIMInverseScheduler",
        "DDIMParallelScheduler",
        "DDPMScheduler",
        "DDPMParallelScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverMultistepInverseScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "LMSDiscreteScheduler",
        "PNDMScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_what_a_configuration_leaves_out_is_the_default_of_its_class(folder, name):
    configure(folder, {"_class_name": name})
    expected = getattr(diffusers, name)().alphas_cumprod.double().numpy()
    assert np.allclose(schedule_of(folder), expected, rtol=1e-4, atol=1e-7)


def test_no_configuration_is_the_standard_schedule(folder):
    shutil.rmtree(folder / "scheduler")
    expected = DDIMScheduler(**STANDARD).alphas_cumprod.double().numpy()
    assert np.allclose(schedule_of(folder), expected, rtol=1e-4)
    (folder / "scheduler").mkdir()
    configure(folder, {"beta_schedule": None, "_class_name": None})
    assert np.allclose(schedule_of(folder), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler (fl"),
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler (continuous noise)"),
        ({"_class_name": "LCMScheduler"}, "LCMScheduler (a distilled model"),
        ({"_class_name": "TCDScheduler"}, "TCDScheduler (a distilled model"),
        ({"_class_name": "MyOwnScheduler"}, "the scheduler is MyOwnScheduler;"),
        ({"_class_name": 5}, "the scheduler is 5;"),
        (STANDARD | {"num_train_timesteps": 500}, "num_train_timesteps is 500, expected 1000"),
        (STANDARD | {"use_flow_sigmas": True}, "use_flow_sigmas is true (flow matching)"),
        (STANDARD | {"timestep_type": "continuous"}, 'timestep_type is "continuous"'),
        (STANDARD | {"beta_schedule": "sigmoid"}, "its betas are 'sigmoid'"),
        (STANDARD | {"beta_schedule": "trained"}, "its betas are 'trained'"),
        (STANDARD | {"beta_start": 2}, "zoodip.beta_start is '2', expected a number between"),
        (STANDARD | {"beta_end": "x"}, "zoodip.beta_end is 'x', expected a number between"),
        (STANDARD | {"trained_betas": [0.1]}, "a list of 1000 numbers"),
        (STANDARD | {"trained_betas": [2] * 1000}, "a list of 1000 numbers"),
        (STANDARD | {"rescale_betas_zero_snr": "yes"}, "expected true or false"),
        (STANDARD | {"prediction_type": "sample"}, "predicts 'sample'"),
        (STANDARD | {"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(folder, config, what):
    message = refusal(configure(folder, config))
    assert what in message and str(folder) in message


def test_betas_that_leave_no_schedule(folder):
    configure(folder, {"beta_schedule": "linear", "beta_start": 0.9, "beta_end": 0.99})
    with pytest.raises(_native.Error, match="schedule: needs numbers that fall"):
        schedule_of(folder)


@pytest.mark.parametrize(
    ("part", "values", "what"),
    [
        ("unet", {"act_fn": "gelu"}, 'act_fn "gelu"'),
        ("unet", {"flip_sin_to_cos": False}, "flip_sin_to_cos false"),
        ("unet", {"norm_eps": 1e-6}, "norm_eps 1e-06"),
        ("unet", {"norm_num_groups": 16}, "norm_num_groups 16"),
        ("unet", {"resnet_time_scale_shift": "scale_shift"}, '"scale_shift"'),
        ("unet", {"only_cross_attention": True}, "only_cross_attention true"),
        ("text_encoder", {"layer_norm_eps": 1e-6}, "layer_norm_eps 1e-06"),
        ("vae", {"norm_num_groups": 16}, "norm_num_groups 16"),
    ],
)
def test_other_operations_are_refused(folder, part, values, what):
    message = refusal(change(folder, part, **values))
    assert f"{part}/config.json has " in message and what in message


# ------------------------------------------------------------------------------------ resolution


@pytest.mark.parametrize(
    ("size", "side"), [(16, 128), (64, 512), (96, 768), ([32, 32], 256), ([32, 48], 512)]
)
def test_the_resolution_of_a_folder_is_its_sample_size(folder, size, side):
    change(folder, "unet", sample_size=size)
    assert _native.open_weights(folder).architecture()["resolution"] == side
    assert zoodip.inspect(folder)["resolution"] == side


def test_the_factor_is_the_autoencoders(folder):
    change(folder, "unet", sample_size=32)
    change(folder, "vae", block_out_channels=[32, 32, 64])
    assert _native.open_weights(folder).architecture()["resolution"] == 128


def test_drawing_takes_the_models_own_resolution(folder):
    change(folder, "unet", sample_size=8)
    assert zoodip.sample(folder, "a dog", steps=1).size == (64, 64)
    assert zoodip.sample(folder, "a dog", steps=1, width=128).size == (128, 64)


# ---------------------------------------------------------------------------------- single files


@pytest.fixture(scope="module")
def tensors():
    return to_original(build_modules("tiny", seed=3))


@pytest.mark.parametrize(
    ("marks", "metadata", "prediction", "zero"),
    [
        ([], {}, "epsilon", False),
        (["v_pred"], {}, "v", False),
        (["v_pred", "ztsnr"], {}, "v", True),
        ([], {"modelspec.prediction_type": "v"}, "v", False),
        (["v_pred"], {"modelspec.prediction_type": "epsilon"}, "epsilon", False),
        (["ztsnr"], {"zoodip.zero_snr": "false"}, "epsilon", False),
        ([], {"zoodip.zero_snr": "true", "zoodip.prediction_type": "v_prediction"}, "v", True),
        (
            ["v_pred"],
            {"zoodip.prediction_type": "epsilon", "modelspec.prediction_type": "v"},
            "epsilon",
            False,
        ),
    ],
)
def test_what_a_file_says(tensors, marks, metadata, prediction, zero):
    marked = tensors | {name: torch.zeros(0) for name in marks}
    source = _native.weights_in_memory(marked, metadata)
    assert source.architecture()["prediction"] == prediction
    assert (_native.alphas_cumprod(source)[-1] == LAST) == zero
    assert source.unread() == []


@pytest.mark.parametrize(
    ("mark", "what"),
    [("edm_mean", "Playground"), ("edm_std", "Playground"), ("edm_vpred.sigma_max", "CosXL")],
)
def test_files_of_continuous_noise(tensors, mark, what):
    source = _native.weights_in_memory(tensors | {mark: torch.zeros(4)})
    with pytest.raises(_native.Error, match=f"continuous noise .EDM., as {what}"):
        source.architecture()


# -------------------------------------------------------------------------------------- settings


def test_settings_go_before_the_file(saved):
    expected = DDIMScheduler(
        beta_schedule="linear", beta_start=0.001, beta_end=0.012, rescale_betas_zero_snr=True
    ).alphas_cumprod.double()
    ours = schedule_of(saved, beta_schedule="linear", beta_start=0.001, zero_snr="on")
    assert np.allclose(ours[:-1], expected[:-1], rtol=1e-4, atol=1e-7)
    assert schedule_of(saved, zero_snr="off") == schedule_of(saved)
    cosine = DDIMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    assert np.allclose(
        schedule_of(saved, beta_schedule="squaredcos_cap_v2"), cosine, rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"beta_schedule": "trained"}, "this model has none"),
        ({"beta_schedule": "squaredcos_cap_v2", "beta_start": 0.1}, "beta_start, beta_end: are"),
        ({"beta_schedule": "sigmoid"}, "needs one of"),
        ({"zero_snr": "maybe"}, "needs one of auto, on, off"),
        ({"beta_end": 1}, "beta_end: needs a number from 0 to 0.999"),
    ],
)
def test_settings_that_make_no_schedule(saved, settings, what):
    with pytest.raises(zoodip.Error, match=what):
        zoodip.inspect(saved, **settings)
    if "needs one of" not in what:
        with pytest.raises(zoodip.Error, match=what.replace("a number from 0 to 0.999", "")[:12]):
            zoodip.sample(saved, "a dog", steps=1, width=64, height=64, **settings)


def test_drawing_has_the_same_settings(saved):
    options = {"width": 64, "height": 64, "steps": 2}
    plain = np.asarray(zoodip.sample(saved, "a dog", **options))
    for settings in (
        {"zero_snr": "on"},
        {"beta_schedule": "linear"},
        {"beta_start": 0.002},
        {"beta_end": 0.02},
    ):
        drawn = np.asarray(zoodip.sample(saved, "a dog", **settings, **options))
        assert not np.array_equal(drawn, plain), settings


# ------------------------------------------------------------------------------- what it changes


def made_of(token):
    with safe_open(token, "pt") as file:
        return json.loads(file.metadata()["zoodip"])


def learn(model, images, out, **settings):
    result = zoodip.train(model, images, "sks", "dog", out, overwrite=True, **QUICK | settings)
    return load_file(result.token)["clip_l"]


def test_a_folders_schedule_and_the_same_one_chosen_teach_the_same(folder, images, tmp_path):
    out = tmp_path / "a.safetensors"
    plain = learn(folder, images, out)
    standard = {"zero_snr": "off", "beta_schedule": "scaled_linear", "prediction": "epsilon"}
    standard |= {"beta_start": 0.00085, "beta_end": 0.012}
    assert made_of(out)["settings"].items() >= standard.items()
    chosen = learn(
        folder, images, out, zero_snr="on", beta_schedule="linear", beta_end=0.02, prediction="v"
    )
    settings = made_of(out)["settings"]
    own = STANDARD | {"beta_schedule": "linear", "beta_end": 0.02}
    own |= {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    configure(folder, own)
    from_folder = learn(folder, images, out)
    assert made_of(out)["settings"] == settings
    assert settings["zero_snr"] == "on" and settings["beta_schedule"] == "linear"
    assert settings["beta_end"] == 0.02 and settings["prediction"] == "v"
    assert torch.equal(chosen, from_folder)
    assert not torch.equal(chosen, plain)


def test_each_part_of_a_schedule_changes_what_is_learned(folder, images, tmp_path):
    out, words = tmp_path / "a.safetensors", []
    for config in (
        STANDARD,
        STANDARD | {"rescale_betas_zero_snr": True},
        STANDARD | {"beta_schedule": "linear"},
        STANDARD | {"beta_start": 0.002},
        STANDARD | {"trained_betas": np.linspace(0.001, 0.015, 1000).tolist()},
    ):
        words.append(learn(configure(folder, config), images, out))
    for i, word in enumerate(words):
        assert not any(torch.equal(word, other) for other in words[:i])


def test_a_folder_that_cannot_be_honoured_does_not_train(folder, images, run, tmp_path):
    configure(folder, {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    out = tmp_path / "out"
    out.mkdir()
    result = run(arguments(folder, images, out / "sks.safetensors"))
    refuses(result, "FlowMatchEulerDiscreteScheduler (flow matching)", folder=out)


def test_zero_snr_with_epsilon_gets_a_warning(folder, images, tmp_path, caplog):
    configure(folder, STANDARD | {"rescale_betas_zero_snr": True})
    learn(folder, images, tmp_path / "a.safetensors")
    (warning,) = [r.message for r in caplog.records]
    assert "zero terminal SNR" in warning and "prediction to v" in warning
    caplog.clear()
    learn(folder, images, tmp_path / "a.safetensors", prediction="v")
    assert not caplog.records


def test_inspect_says_the_schedule(folder, run):
    standard = "scaled_linear betas from 0.00085 to 0.012"
    assert zoodip.inspect(folder)["schedule"] == standard
    assert f"predicts epsilon, {standard}, kl autoencoder" in run(["inspect", folder]).stdout
    configure(folder, STANDARD | {"rescale_betas_zero_snr": True, "beta_schedule": "linear"})
    assert zoodip.inspect(folder)["schedule"] == ("zero-SNR linear betas from 0.00085 to 0.012")


def test_a_wired_model_brings_its_own_schedule(saved, tmp_path):
    """A setting that would not act is refused."""
    write_checkpoint(tmp_path / "m.safetensors", "tiny", seed=3)
    tensors = load_file(tmp_path / "m.safetensors")
    entries = [(n, t.shape, t.dtype) for n, t in tensors.items()]
    weights = graph.Weights("the wired model", entries, tensors.__getitem__)
    ids = torch.tensor([_native.Tokenizer().encode_prompt("a dog")])
    pixels = torch.zeros(64, 64, 3, dtype=torch.uint8)
    picture = graph.Picture("a.png", pixels, "0", "a {}", graph.Text(ids, [2]))
    own = [math.cos((t + 1) / 1001 * math.pi / 2) ** 2 for t in range(1000)]

    def learn_wired(**settings):
        return graph.train(
            weights,
            [picture],
            "sks",
            ("dog", 1929),
            tmp_path / "a.safetensors",
            empty_text=graph.Text(ids),
            alphas_cumprod=own,
            overwrite=True,
            settings=QUICK | settings,
        )

    for setting in ({"zero_snr": "on"}, {"beta_schedule": "linear"}, {"beta_end": 0.02}):
        (name,) = setting
        with pytest.raises(zoodip.Error, match=f"{name}: the wired model brings its own"):
            learn_wired(**setting)
    made = made_of(learn_wired(zero_snr="auto", beta_start=0).token)
    assert made["settings"]["beta_schedule"] == "auto" and "schedule" in made


def test_a_marked_file_trains_as_with_the_settings(tensors, images, tmp_path):
    save_file({n: t.contiguous() for n, t in tensors.items()}, tmp_path / "plain.safetensors")
    marks = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    save_file({n: t.contiguous() for n, t in (tensors | marks).items()}, tmp_path / "m.safetensors")
    out = tmp_path / "out.safetensors"
    marked = learn(tmp_path / "m.safetensors", images, out)
    plain = tmp_path / "plain.safetensors"
    assert torch.equal(marked, learn(plain, images, out, zero_snr="on", prediction="v"))
    assert not torch.equal(marked, learn(plain, images, out, prediction="v"))
