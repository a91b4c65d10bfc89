"""Which tensors of a file are a word's vectors, by their names alone.

The engine's rule (native/words/token_keys.h) over again, for the nodes that work without it; one
table of cases holds both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ENCODERS = ("clip_l", "clip_g", "clip_h")
_ONLY_TENSORS = ("emb_params", "emp_params", "string_to_param", "string_to_param.*", "*")
# Names of a single tensor that say what it is and not what it stands for.
_PLAIN_NAMES = ("emb", "embed", "embedding", "embeddings", "learned_embeds")
_PLAIN_NAMES += ("vector", "vectors", "weight")
_BUNDLE = "bundle_emb."

_LORA = ("lora_up.", "lora_down.", "lora.up.", "lora.down.", ".lora_A.", ".lora_B.")
_LORA += ("hada_w1", "lokr_w1")
_CHECKPOINT = ("model.diffusion_model.", "cond_stage_model.", "first_stage_model.")
_PART = ("text_model.", "down_blocks.", "decoder.")


@dataclass(frozen=True)
class FoundKeys:
    """The names of a word's tensors."""

    vectors: dict[str, str]
    """Encoder -> name in the file; the encoder is empty where the tensor's width tells."""
    words: tuple[str, ...] = ()
    """That the names give it, none or one."""
    others: tuple[str, ...] = ()
    """What else there is, for people."""


def find_keys(names: Sequence[str], asked: str = "") -> FoundKeys:
    """The tensors that hold a word's vectors, among those of a file.

    Args:
        names: of all its tensors.
        asked: which of several words inside a LoRA; empty for the only one.

    Raises:
        ValueError: saying what the file is instead.
    """
    plain = {name: name for name in names}
    found = _by_name(plain)
    bundled = _bundled(names)
    if found is None and bundled:
        found = _one_of_bundle(bundled, asked)
    if found is None:
        what = _other_file(names)
        if what is not None or len(plain) != 1:
            raise ValueError(
                f"is {what or 'no token file'}; a token file holds clip_l or emb_params, and this "
                f"one has {_counted(names)}. Choose a file that a Textual Inversion made"
            )
        found = _by_only_name(plain)
    read = set(found.vectors.values())
    others = [name for name in sorted(plain) if name not in read]
    if any(sign in name for name in others for sign in _LORA):
        others = [f"{len(others)} tensors of a LoRA"]
    said = [f"{name} (an output vector)" if name.endswith("_out") else name for name in others]
    return FoundKeys(found.vectors, found.words, tuple(said))


def _by_name(names: dict[str, str]) -> FoundKeys | None:
    """names: without what stands before them in a bundle -> in the file."""
    encoders = {encoder: names[encoder] for encoder in _ENCODERS if encoder in names}
    if encoders:
        return FoundKeys(encoders)
    first, second = names.get("text_encoders_0"), names.get("text_encoders_1")
    if first is not None and second is not None:
        return FoundKeys({"clip_l": first, "clip_g": second})
    if first is not None:
        return FoundKeys({"": first})
    only = next((names[name] for name in _ONLY_TENSORS if name in names), None)
    return None if only is None else FoundKeys({"": only})


def _by_only_name(names: dict[str, str]) -> FoundKeys:
    """The name of the only tensor is the word, as diffusers has it: "<cat-toy>" -> "cat-toy"."""
    ((name, key),) = names.items()
    bracketed = len(name) > 2 and name.startswith("<") and name.endswith(">")
    word = name[1:-1] if bracketed else name
    return FoundKeys({"": key}, () if name in _PLAIN_NAMES else (word,))


def _bundled(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The words inside a LoRA: each with the names of its tensors, short -> in the file."""
    words: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        word, dot, short = name.removeprefix(_BUNDLE).partition(".")
        if name.startswith(_BUNDLE) and dot:
            words.setdefault(word, {})[short] = name
    return words


def _one_of_bundle(words: dict[str, dict[str, str]], asked: str) -> FoundKeys:
    chosen = next((word for word in words if word.lower() == asked.lower()), None)
    if len(words) == 1:
        chosen = next(iter(words))
    if chosen is None:
        raise ValueError(
            f"is a LoRA that holds {len(words)} words ({', '.join(words)}). Say which one, as its "
            "word"
        )
    names = words[chosen]
    found = _by_name(names) or (_by_only_name(names) if len(names) == 1 else None)
    if found is None:
        raise ValueError(
            f"is a LoRA whose word '{chosen}' has no vectors that are known, but "
            f"{next(iter(names))}"
        )
    return FoundKeys(found.vectors, (chosen,))


def _counted(names: Sequence[str]) -> str:
    if not names:
        return "no tensors"
    if len(names) == 1:
        return f"one tensor, {names[0]}"
    return f"{len(names)} tensors, the first {min(names)}"


def _other_file(names: Sequence[str]) -> str | None:
    """What else than a token a file with these tensors is.

    Words may look like parts of names, so that a single tensor has to say more.
    """
    text = "\n".join(names)
    if any(sign in text for sign in _LORA):
        return "a LoRA, not a token"
    if any(sign in text for sign in _CHECKPOINT):
        return "a checkpoint, not a token"
    if len(names) > 1 and any(sign in text for sign in _PART):
        return "a part of a model, not a token"
    if {"theta", "m", "v"} <= set(names):
        return "the state of a stopped training, not its token"
    return None
