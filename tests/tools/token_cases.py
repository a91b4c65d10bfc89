"""Files of other trainers, and the word that is in them: one table for the engine and the nodes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TokenCase:
    """A file of tensors, and what it is read as."""

    tensors: dict[str, tuple[int, ...]]
    """Name -> shape."""
    word: str
    """Of a file called mycat.safetensors."""
    vectors: dict[str, str]
    """Encoder -> the tensor that holds its vectors."""
    others: list[str] = field(default_factory=list)
    """What is said to be there beside it."""
    asked: str = ""
    """The word that the caller gives."""
    metadata: dict[str, str] = field(default_factory=dict)


L, G, H = (2, 768), (2, 1280), (2, 1024)
LORA = {"lora_unet_mid.lora_up.weight": (4, 4), "lora_unet_mid.alpha": (1,)}

CASES = {
    "zoodip": TokenCase({"clip_l": L}, "sks", {"clip_l": "clip_l"}, metadata={"word": "sks"}),
    "kohya": TokenCase({"emb_params": L}, "mycat", {"clip_l": "emb_params"}),
    "kohya, one vector": TokenCase({"emb_params": (768,)}, "mycat", {"clip_l": "emb_params"}),
    "kohya sdxl": TokenCase(
        {"clip_l": L, "clip_g": G}, "mycat", {"clip_l": "clip_l", "clip_g": "clip_g"}
    ),
    "onetrainer": TokenCase({"emp_params": L}, "mycat", {"clip_l": "emp_params"}),
    "onetrainer sd2": TokenCase({"emp_params": H}, "mycat", {"clip_h": "emp_params"}),
    "onetrainer, output vector": TokenCase(
        {"emp_params": L, "emp_params_out": L},
        "mycat",
        {"clip_l": "emp_params"},
        ["emp_params_out (an output vector)"],
    ),
    "emb_params, output vector": TokenCase(
        {"emb_params": L, "emb_params_out": L},
        "mycat",
        {"clip_l": "emb_params"},
        ["emb_params_out (an output vector)"],
    ),
    "onetrainer sdxl": TokenCase(
        {"clip_l": L, "clip_g": G, "clip_l_out": L, "clip_g_out": G},
        "mycat",
        {"clip_l": "clip_l", "clip_g": "clip_g"},
        ["clip_g_out (an output vector)", "clip_l_out (an output vector)"],
    ),
    "onetrainer sd3": TokenCase(
        {"clip_l": L, "t5": (2, 4096)}, "mycat", {"clip_l": "clip_l"}, ["t5"]
    ),
    "pivotal": TokenCase({"text_encoders_0": L}, "mycat", {"clip_l": "text_encoders_0"}),
    "pivotal sdxl": TokenCase(
        {"text_encoders_0": L, "text_encoders_1": G},
        "mycat",
        {"clip_l": "text_encoders_0", "clip_g": "text_encoders_1"},
    ),
    "a1111, taken over": TokenCase(
        {"string_to_param.*": L}, "mycat", {"clip_l": "string_to_param.*"}
    ),
    "a1111, shorter": TokenCase({"*": L}, "mycat", {"clip_l": "*"}),
    "a1111, a plain key": TokenCase({"string_to_param": L}, "mycat", {"clip_l": "string_to_param"}),
    "diffusers": TokenCase({"<cat-toy>": (1, 768)}, "cat-toy", {"clip_l": "<cat-toy>"}),
    "invokeai": TokenCase({"cattoy": (768,)}, "cattoy", {"clip_l": "cattoy"}),
    "a plain name": TokenCase({"embedding": L}, "mycat", {"clip_l": "embedding"}),
    "a name that is no word": TokenCase({"a cat": L}, "mycat", {"clip_l": "a cat"}),
    "in a lora": TokenCase(
        {"bundle_emb.sks.string_to_param.*": L, **LORA},
        "sks",
        {"clip_l": "bundle_emb.sks.string_to_param.*"},
        ["2 tensors of a LoRA"],
    ),
    "in a lora, onetrainer": TokenCase(
        {"bundle_emb.sks.emp_params": L, **LORA},
        "sks",
        {"clip_l": "bundle_emb.sks.emp_params"},
        ["2 tensors of a LoRA"],
    ),
    "in a lora, sdxl": TokenCase(
        {"bundle_emb.sks.clip_l": L, "bundle_emb.sks.clip_g": G, **LORA},
        "sks",
        {"clip_l": "bundle_emb.sks.clip_l", "clip_g": "bundle_emb.sks.clip_g"},
        ["2 tensors of a LoRA"],
    ),
    "in a lora, called otherwise": TokenCase(
        {"bundle_emb.sks.emb_params": L, **LORA},
        "dog2",
        {"clip_l": "bundle_emb.sks.emb_params"},
        ["2 tensors of a LoRA"],
        asked="dog2",
    ),
    "one of two in a lora": TokenCase(
        {"bundle_emb.a1.emb_params": L, "bundle_emb.b1.emb_params": H, **LORA},
        "B1",
        {"clip_h": "bundle_emb.b1.emb_params"},
        ["3 tensors of a LoRA"],
        asked="B1",
    ),
}

REFUSED = {
    "two in a lora": (
        {"bundle_emb.a1.emb_params": L, "bundle_emb.b1.emb_params": L, **LORA},
        "is a LoRA that holds 2 words (a1, b1). Say which one",
    ),
    "an unknown key in a lora": (
        {"bundle_emb.a1.x": L, "bundle_emb.a1.y": L, **LORA},
        "is a LoRA whose word 'a1' has no vectors that are known, but x",
    ),
    "a lora": (LORA, "is a LoRA, not a token"),
    "an output vector alone, and another": ({"a_out": L, "b_out": L}, "is no token file"),
}
