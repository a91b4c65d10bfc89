"""Tiny models of the families beside the demo's, as the host's own objects with random weights."""

import json

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models
import comfy.taesd.taesd
import comfy.text_encoders.sd2_clip
import torch

NARROW, WIDE, SIZES = 64, 128, 6 * 256

COMMON = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
XL_UNET = COMMON | {
    "transformer_depth": [0, 2],
    "transformer_depth_output": [0, 0, 2, 2],
    "transformer_depth_middle": 2,
    "context_dim": NARROW + WIDE,
    "num_classes": "sequential",
    "adm_in_channels": WIDE + SIZES,
}
SD2_UNET = COMMON | {
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": WIDE,
    "adm_in_channels": None,
}


def _text(width, layers):
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // 64,
        "num_hidden_layers": layers,
        "projection_dim": width,
    }


def randomise(module, seed):
    """Weights that keep activations near one; norms near one, biases that show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                values = 0.05 * torch.randn(parameter.shape, generator=generator)
            elif parameter.ndim <= 1:
                values = 1 + 0.1 * torch.randn(parameter.shape, generator=generator)
            elif "embedding" in name:
                values = 0.02 * torch.randn(parameter.shape, generator=generator)
            else:
                deviation = (parameter.shape[0] / parameter.numel()) ** 0.5
                values = deviation * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values)


def _model(config, seed):
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device=torch.device("cpu"))
    randomise(model.diffusion_model, seed)
    return _patcher(model)


def _patcher(model):
    return comfy.model_patcher.ModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def _clip(model, tokenizer, configs, seed):
    class Target:
        params = {}

    Target.clip, Target.tokenizer = model, tokenizer
    options = {f"{name}_model_config": dict(config) for name, config in configs.items()}
    clip = comfy.sd.CLIP(
        Target, embedding_directory=[], model_options=options | {"dtype": torch.float32}
    )
    randomise(clip.cond_stage_model, seed)
    return clip


def vae(seed=3):
    """A TAESD."""
    module = comfy.taesd.taesd.TAESD(latent_channels=4)
    randomise(module, seed)
    return comfy.sd.VAE(sd=module.state_dict())


def xl(seed=1):
    """MODEL and CLIP."""
    with torch.inference_mode(False):
        model = _model(comfy.supported_models.SDXL(dict(XL_UNET)), seed)
        clip = _clip(
            comfy.sdxl_clip.SDXLClipModel,
            comfy.sdxl_clip.SDXLTokenizer,
            {"clip_l": _text(NARROW, 3), "clip_g": _text(WIDE, 3)},
            seed + 1,
        )
        clip.tokenizer.clip_l.embedding_size = NARROW
        clip.tokenizer.clip_g.embedding_size = WIDE
        return model, clip


@torch.inference_mode()
def in_int8(model, by_row, description=None):
    """MODEL with the linear layers of another one in the host's `int8_tensorwise`, made as its own
    loaders do: in inference mode."""
    weights = {}
    for name, tensor in model.model.diffusion_model.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if kind != "weight" or tensor.dim() != 2:
            weights[name] = tensor
            continue
        largest = tensor.abs().amax(1, keepdim=True) if by_row else tensor.abs().max()
        scale = largest / 127
        told = json.dumps(description or {"format": "int8_tensorwise"}).encode()
        weights[name] = (tensor / scale).round().clamp(-128, 127).to(torch.int8)
        weights[f"{name}_scale"] = scale
        weights[f"{layer}.comfy_quant"] = torch.tensor(list(told), dtype=torch.uint8)
    config = type(model.model.model_config)(dict(XL_UNET))
    config.quant_config = {"mixed_ops": True}
    config.set_inference_dtype(torch.float32, torch.float32)
    quantised = config.get_model({}, "", device=torch.device("cpu"))
    quantised.diffusion_model.load_state_dict(weights)
    return _patcher(quantised)


def sd2(seed=1):
    """MODEL and CLIP."""
    with torch.inference_mode(False):
        model = _model(comfy.supported_models.SD20(dict(SD2_UNET)), seed)
        clip = _clip(
            comfy.text_encoders.sd2_clip.SD2ClipModel,
            comfy.text_encoders.sd2_clip.SD2Tokenizer,
            # The host asks for its configuration under no name, or under one of these.
            {name: _text(WIDE, 3) for name in ("", "clip_h", "clip_l")},
            seed + 1,
        )
        clip.tokenizer.clip_h.embedding_size = WIDE
        return model, clip
