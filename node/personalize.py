"""Personalize (ZO) and Personalize from Checkpoint (ZO)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import comfy.latent_formats
import comfy.lora
import comfy.sd
import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution import utils as execution

from . import host, settings, training
from .caption_ids import initialiser, prepare_captions, prepare_plain
from .captions import listed_captions, match_captions
from .checkpoint import TokenizerOnly, file_digest
from .native import graph
from .nodes_token import ZoToken
from .options import Options
from .parking import halved
from .pictures import pictures_from
from .schema import schema
from .self_check import expected_of, text_states
from .subjects import Subject, Subjects, Word, subject_inputs, subject_of
from .token import Token, read_token
from .token_clip import apply_token, inner_tokenizers
from .wires import clip_skip_of, digest_of_patched, read_wires

# How often a training of these widgets was stopped and kept. ComfyUI keeps what a node returned; a
# training that was not finished must go on when it is queued again instead.
_STOPPED: dict[tuple, int] = {}


def _schema(node_id: str, *inputs: io.Input) -> io.Schema:
    return schema(
        node_id,
        [*inputs],
        [
            io.Clip.Output(),
            ZoToken.Output(is_output_list=True),
            io.LossMap.Output(),
            io.Int.Output("steps_done"),
        ],
        hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        is_input_list=True,
        has_intermediate_output=True,  # the page is told of the run of a cached result
    )


def _subject_inputs() -> list[io.Input]:
    steps = settings.declared()["steps"]
    return [
        *subject_inputs("sks"),
        io.Int.Input("steps", default=30000, min=int(steps["minimum"]), max=int(steps["maximum"])),
        io.Combo.Input("precision", options=list(settings.PRECISIONS), default="int8"),
    ]


def _seed_input() -> io.Input:
    seed = settings.declared()["seed"]
    return io.Int.Input("train_seed", default=0, min=0, max=int(seed["maximum"]))


def _place(hidden: Any) -> dict[str, str]:
    """Which node of which graph asks."""
    workflow = ((hidden.extra_pnginfo or {}).get("workflow") or {}).get("id") or ""
    context = execution.get_executing_context()
    prompt = context.prompt_id if context else ""
    return {"node": str(hidden.unique_id or ""), "workflow": str(workflow), "prompt": prompt}


def _settings(precision: str, train_seed: int, options: dict | None) -> tuple[dict, float]:
    """The engine's settings, and what share previews may take."""
    chosen = dict(options or {})
    preview = chosen.pop("preview_percent", settings.PREVIEW_PERCENT["default"])
    if precision not in settings.PRECISIONS:
        raise ValueError(
            f"precision: needs one of {', '.join(settings.PRECISIONS)}; got '{precision}'"
        )
    chosen |= settings.PRECISIONS[precision]
    if train_seed:
        chosen["seed"] = train_seed
    return {**chosen, "device": host.device_name()}, preview


def _single(inputs: dict[str, list]) -> dict[str, Any]:
    """The first of each input: only the pictures and captions may be several."""
    return {name: values[0] if values else None for name, values in inputs.items()}


def _learner(
    clip: Any, subject: Subject, further: Sequence[Word], chosen: dict
) -> training.Subject:
    """A subject as the engine takes it, with ids of the CLIP's own tokenizer. further: words that
    its captions have as well."""
    starts = [initialiser(clip, one.initialiser) for one in (subject, *further)]
    pictures = pictures_from(subject.images)
    captions = match_captions(listed_captions(subject.captions, len(pictures)), len(pictures))
    # Fewer vectors than words are refused by the engine, with both numbers.
    vectors = chosen.get("vectors", 0) or max(_count(start) for start in starts)
    names = [word.word for word in further]
    ids = prepare_captions(clip, captions, subject.word, vectors, names)
    prepared = zip(pictures, captions, ids, strict=True)
    return training.Subject(
        [
            graph().Picture(f"picture {i}", picture.pixels, picture.sha256, caption, ids)
            for i, (picture, caption, ids) in enumerate(prepared, 1)
        ],
        subject.word,
        (subject.initialiser, starts[0]),
        tuple(
            (one.word, (one.initialiser, start))
            for one, start in zip(further, starts[1:], strict=True)
        ),
    )


def _count(start: list[int] | dict[str, torch.Tensor]) -> int:
    """How many vectors a word begins from."""
    return len(start) if isinstance(start, list) else len(next(iter(start.values())))


def _asked(
    clip: Any, given: dict[str, Any], subjects: list[Subject], further: list[Word]
) -> dict[str, Any]:
    """The fields of a Training that both nodes ask for. further: of the first subject."""
    chosen, percent = _settings(given["precision"], given["train_seed"], given.get("options"))
    learners = []
    for number, subject in enumerate(subjects):
        try:
            learners.append(_learner(clip, subject, [] if number else further, chosen))
        except ValueError as error:
            if len(subjects) == 1:
                raise
            raise ValueError(f"subject '{subject.word}': {error}") from None
    return {
        "subjects": learners,
        "empty_text": prepare_plain(clip, ""),
        "settings": {**chosen, "steps": given["steps"]},
        "preview_percent": percent,
    }


def _widgets(**values: list) -> tuple:
    """The widgets that name a training to ComfyUI's cache."""
    names = ("ckpt_name", "word", "initialiser", "steps", "precision", "train_seed")
    return tuple(str(values.get(name)) for name in names)


def _beginning(word: str, steps: int, place: dict, number: int) -> AbstractContextManager:
    """The job of a subject. The node shows the first; the others have a place of their own."""
    if number:
        place = place | {"node": f"{place['node']}/{number}"}
    return host.jobs().beginning(word, int(steps), place, type(host.interruption()))


class _Personalize(io.ComfyNode):
    """What both nodes share; each has its own `_training`, which also gives what makes the CLIP
    that is to know the token."""

    @classmethod
    def execute(cls, **inputs: list) -> io.NodeOutput:
        given = _single(inputs)
        added = given.get("subjects") or ()
        subjects = [subject_of(inputs), *(one for one in added if isinstance(one, Subject))]
        further = [one for one in added if isinstance(one, Word)]
        place = _place(cls.hidden)
        with ExitStack() as stack:
            jobs = [
                stack.enter_context(_beginning(subject.word, given["steps"], place, number))
                for number, subject in enumerate(subjects)
            ]
            asked, clip_for = cls._training(given, subjects, further)
            learned = training.learn(jobs, asked, place["node"], host)
            tokens = [read_token(file) for each in learned for file in (each.token, *each.also)]
            if not all(each.finished for each in learned):
                stopped = _widgets(**inputs)
                _STOPPED[stopped] = _STOPPED.get(stopped, 0) + 1
            clip = clip_for(tokens[0])
            for token in tokens:
                clip = apply_token(clip, token)
            return io.NodeOutput(
                clip,
                tokens,
                {"loss": learned[0].losses},
                learned[0].steps,
                # Kept with the outputs: where the host has them still, the page finds the run.
                ui={"zoodip_run": [jobs[0].id]},
            )

    @classmethod
    def fingerprint_inputs(cls, **values: list) -> int:
        # Values that come over links are not known yet: any will do.
        unknown, asked = (str(None), str((None,))), _widgets(**values)
        return sum(
            count
            for stopped, count in _STOPPED.items()
            if all(own in (*unknown, one) for own, one in zip(asked, stopped, strict=True))
        )


class PersonalizeZO(_Personalize):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _schema(
            "PersonalizeZO",
            io.Model.Input("model"),
            io.Clip.Input("clip"),
            io.Vae.Input("vae"),
            *_subject_inputs(),
            _seed_input(),
            Options.Input("options", optional=True),
            Subjects.Input("subjects", optional=True),
        )

    @classmethod
    def _training(
        cls, given: dict[str, Any], subjects: list[Subject], further: list[Word]
    ) -> tuple[training.Training, Any]:
        model, clip, vae = given["model"], given["clip"], given["vae"]
        wired = read_wires(model, clip, vae, comfy.lora.calculate_weight, host.settle)
        asked = _asked(clip, given, subjects, further)
        asked["settings"] |= {"prediction": wired.prediction, "clip_skip": wired.clip_skip}
        first = asked["subjects"][0]
        picture, text = first.pictures[0], f"a photo of a {first.initialiser[0]}"
        # The wired VAE's own decoder where it is a tiny one.
        decode = vae.decode if hasattr(vae.first_stage_model, "taesd_decoder") else None
        # What ComfyUI holds in main memory and does not compute with while the engine trains.
        idle = [model.model.diffusion_model, clip.cond_stage_model]
        wanted = training.Training(
            weights=wired.weights(),
            digest=wired.digest(),
            alphas_cumprod=wired.alphas_cumprod,
            expected=lambda: expected_of(model, clip, vae, wired, picture.pixels, text),
            preview=host.Previews(model.model.latent_format, decode).jpeg,
            parking=lambda: halved(idle if host.device_name() == "cpu" else []),
            **asked,
        )
        return wanted, lambda token: clip


class PersonalizeFromCheckpointZO(_Personalize):
    @classmethod
    def define_schema(cls) -> io.Schema:
        declared = settings.declared()
        return _schema(
            "PersonalizeFromCheckpointZO",
            io.Combo.Input("ckpt_name", options=folder_paths.get_filename_list("checkpoints")),
            *_subject_inputs(),
            io.Combo.Input("prediction", options=declared["prediction"]["choices"], default="auto"),
            _seed_input(),
            io.Clip.Input("clip", optional=True),
            Options.Input("options", optional=True),
            # Last, where it moves no value of a saved workflow.
            io.Combo.Input(
                "zero_snr", options=declared["zero_snr"]["choices"], default="auto", optional=True
            ),
            Subjects.Input("subjects", optional=True),
        )

    @classmethod
    def _training(
        cls, given: dict[str, Any], subjects: list[Subject], further: list[Word]
    ) -> tuple[training.Training, Any]:
        path = folder_paths.get_full_path_or_raise("checkpoints", given["ckpt_name"])
        wired_clip = given.get("clip")
        clip = wired_clip or TokenizerOnly.of_checkpoint(
            path, folder_paths.get_folder_paths("embeddings")
        )
        asked = _asked(clip, given, subjects, further)
        asked["settings"]["prediction"] = given["prediction"]
        if given.get("zero_snr", "auto") != "auto":
            asked["settings"]["zero_snr"] = given["zero_snr"]
        digest = file_digest(path)
        if wired_clip is not None:
            asked["settings"]["clip_skip"] = clip_skip_of(wired_clip)
            # With a LoRA it is not the file's: the self-check is to see it, whatever is stored.
            digest += digest_of_patched(wired_clip, comfy.lora.calculate_weight, host.settle)
        text = f"a photo of a {asked['subjects'][0].initialiser[0]}"
        formats = comfy.latent_formats
        latents = formats.SDXL() if len(inner_tokenizers(clip)) > 1 else formats.SD15()
        wanted = training.Training(
            weights=path,
            digest=digest,
            # Whether a wired CLIP is that of the checkpoint.
            expected=lambda: graph().Expected(text=wired_clip and text_states(wired_clip, text)),
            preview=host.Previews(latents).jpeg,
            **asked,
        )
        return wanted, lambda token: wired_clip or _load_clip(path, token)


def _load_clip(path: str, token: Token) -> Any:
    """The checkpoint's own CLIP by ComfyUI's loader."""
    clip = None
    with torch.inference_mode(False), suppress(RuntimeError):  # of a model that it does not know
        _, clip, *_ = comfy.sd.load_checkpoint_guess_config(
            path,
            output_vae=False,
            output_clip=True,
            output_model=False,
            embedding_directory=folder_paths.get_folder_paths("embeddings"),
        )
    if clip is None:
        raise RuntimeError(
            f"{path}: '{token.word}' is learned and kept, but ComfyUI finds no CLIP in this file "
            "that could be given it: wire one into the clip input"
        )
    return clip


NODES = [PersonalizeZO, PersonalizeFromCheckpointZO]
