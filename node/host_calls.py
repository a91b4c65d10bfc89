"""What this package calls of ComfyUI, looked at once when it starts.

ComfyUI promises none of it, and changes it now and then. A call that is gone, takes other
arguments or answers in another form is named in the log, so that nobody has to guess it from what
a node says later.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from types import SimpleNamespace
from typing import Any

import torch

from .token import Token
from .token_clip import apply_token, inner_tokenizers

log = logging.getLogger("zoodip")

# Functions, classes and methods of the host's, with how many values and which names they get.
_CALLS = """
comfy.latent_formats.SD15 0
comfy.latent_formats.SDXL 0
comfy.lora.calculate_weight 3
comfy.model_base.BaseModel.apply_model 3 c_crossattn transformer_options
comfy.model_base.BaseModel.process_latent_in 2
comfy.model_base.SDXL.encode_adm 1 pooled_output width height
comfy.model_management.free_memory 2
comfy.model_management.get_torch_device 0
comfy.model_management.InterruptProcessingException 0
comfy.model_management.load_models_gpu 1
comfy.model_management.processing_interrupted 0
comfy.model_management.soft_empty_cache 0
comfy.model_management.unet_offload_device 0
comfy.model_patcher.ModelPatcher 1 load_device offload_device
comfy.model_patcher.ModelPatcher.clone 1
comfy.model_patcher.ModelPatcher.get_key_patches 2
comfy.model_patcher.ModelPatcher.get_model_object 2
comfy.sd.CLIP 1 tokenizer_data embedding_directory model_options
comfy.sd.CLIP.clone 1
comfy.sd.CLIP.encode_from_tokens 2 return_pooled
comfy.sd.CLIP.tokenize 2 return_word_ids
comfy.sd.VAE 0 sd
comfy.sd.VAE.decode 2
comfy.sd.VAE.encode 2
comfy.sd.load_checkpoint_guess_config 1 output_vae output_clip output_model embedding_directory
comfy.sd1_clip.SD1Tokenizer 0 embedding_directory
comfy.sd1_clip.SD1Tokenizer.tokenize_with_weights 3
comfy.sd1_clip.SDTokenizer 0 tokenizer_data embedding_directory embedding_size
comfy.sd1_clip.SDTokenizer._try_get_embedding 2
comfy.sd1_clip.SDTokenizer.tokenize_with_weights 3
comfy.sdxl_clip.SDXLTokenizer 0 embedding_directory
comfy.supported_models.SD15 1
comfy.supported_models.SD15.clip_target 1
comfy.supported_models.SD15.get_model 3 device
comfy.supported_models.SD15.process_clip_state_dict 2
comfy.supported_models.SD15.set_inference_dtype 3
comfy.taesd.taesd.TAESD 2 latent_channels
comfy.text_encoders.sd2_clip.SD2Tokenizer 0 embedding_directory
comfy.utils.ProgressBar 1 node_id
comfy.utils.ProgressBar.update_absolute 2
comfy_execution.utils.get_executing_context 0
folder_paths.get_filename_list 1
folder_paths.get_folder_paths 1
folder_paths.get_full_path 2
folder_paths.get_full_path_or_raise 2
folder_paths.get_input_directory 0
folder_paths.get_user_directory 0
folder_paths.filename_list_cache.pop 2
latent_preview.Latent2RGBPreviewer 2
latent_preview.Latent2RGBPreviewer.decode_latent_to_preview 2
latent_preview.TAESDPreviewerImpl 1
latent_preview.TAESDPreviewerImpl.decode_latent_to_preview 2
server.PromptServer.send_sync 3
"""


def warn_of_changes() -> None:
    """One line in the log where this ComfyUI is not as this package expects it."""
    calls = [changed(*row.split()) for row in _CALLS.strip().splitlines()]
    found = [*filter(None, calls), *changed_answers()]
    if found:
        log.warning(
            "ZOODiP: this ComfyUI %s has changed what ZOODiP calls: %s. Update ComfyUI-ZOODiP; "
            "until then nodes that need it will fail",
            _host_version(),
            "; ".join(found),
        )


def changed(path: str, values: str, *names: str) -> str:
    """What is not as expected of a call, in a few words; "" when nothing is."""
    try:
        found = _find(path)
    except Exception:  # whatever a module of another version does when it is imported
        return f"{path} is gone"
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # one of C, which tells none
        return "" if callable(found) else f"{path} cannot be called"
    try:
        signature.bind(*[None] * int(values), **dict.fromkeys(names))
    except TypeError as error:
        return f"{path} takes other arguments ({error})"
    return ""


def _find(path: str) -> Any:
    """The object at a dotted path, of which a part names the module."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            found = getattr(found, name)
        return found
    raise ImportError(path)


def changed_answers() -> list[str]:
    """What calls answer that have to be of a certain form, tried on the smallest inputs."""
    tried = {
        "comfy.sd1_clip.SDTokenizer._try_get_embedding": _check_words,
        "comfy.model_patcher.ModelPatcher.get_key_patches": _check_patches,
    }
    found = []
    for path, check in tried.items():
        try:
            with torch.inference_mode(False):
                check()
        except Exception as error:
            said = str(error) or type(error).__name__
            found.append(f"{path} answers in another form ({said})")
    return found


def _check_words() -> None:
    """A known word is one vector in a prompt, with text on both sides."""
    # A CLIP as far as words need one.
    clip = SimpleNamespace(clone=SimpleNamespace)
    clip.tokenizer = _find("comfy.sd1_clip.SD1Tokenizer")(embedding_directory=[])
    widths = {name: inner.embedding_size for name, inner in inner_tokenizers(clip).items()}
    vectors = {name: torch.ones(1, width) for name, width in widths.items()}
    knowing = apply_token(clip, Token("zoodip", vectors, {})).tokenizer
    (((_, first, word, last, *_),),) = knowing.tokenize_with_weights("a zoodip, a").values()
    if not torch.is_tensor(word[0]) or torch.is_tensor(first[0]) or torch.is_tensor(last[0]):
        raise ValueError("a word's vectors do not take its place in a prompt")


def _check_patches() -> None:
    """A weight comes with what converts it, then its patches, which can be merged."""
    device = torch.device("cpu")
    layer = torch.nn.Linear(2, 2).requires_grad_(False)
    patcher = _find("comfy.model_patcher.ModelPatcher")(
        layer, load_device=device, offload_device=device
    )
    patcher.add_patches({"weight": ("diff", (torch.ones(2, 2),))}, 1.0)
    ((weight, convert), *patches) = patcher.get_key_patches("")["weight"]
    merge = _find("comfy.lora.calculate_weight")
    merged = merge(patches, convert(weight.clone(), inplace=True), "weight")
    if not torch.allclose(merged, layer.weight + 1):
        raise ValueError("patches are merged in another way")


def _host_version() -> str:
    try:
        return str(_find("comfyui_version.__version__"))
    except (ImportError, AttributeError):
        return "of an unknown version"
