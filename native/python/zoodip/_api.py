"""The public functions: typed Python in front of the native engine, which runs without the GIL."""

from __future__ import annotations

import json
import operator
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._loader import load_native

if TYPE_CHECKING:
    from PIL.Image import Image

StrPath = str | os.PathLike[str]
Setting = bool | int | float | str


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind."""

    token: Path
    """The token file."""
    steps: int
    """Steps done, those of resumed runs included."""
    finished: bool
    """False when it was stopped before the last step; `resume=True` goes on from there."""
    loss: float
    """Exponential mean of the loss."""
    forward_passes: int = 0
    """Forward passes of the UNet that the steps made; validation and previews apart."""
    backward_passes: int = 0
    best: Path | None = None
    """The word of the lowest validation loss, beside `token`; None without validation."""
    best_step: int = 0
    best_loss: float = 0.0
    word_step: int = 0
    """Of the word in `token`: the last step, or with `take="best"` that of the best word."""
    tokens: tuple[Path, ...] = ()
    """The token files of all words: `token`, and those of `also` in their order."""


def path_list(paths: StrPath | Sequence[StrPath]) -> list[Path]:
    """One path or several, as a list."""
    if isinstance(paths, str | os.PathLike):
        return [Path(paths)]
    return [Path(path) for path in paths]


def train_result(result: Mapping[str, Any]) -> TrainResult:
    """The native module's answer, typed."""
    best = str(result["best"])
    return TrainResult(
        Path(result["token"]),
        result["steps"],
        result["finished"],
        result["loss"],
        result["forward_passes"],
        result["backward_passes"],
        Path(best) if best not in ("", ".") else None,
        result["best_step"],
        result["best_loss"],
        result["word_step"],
        tuple(Path(token) for token in result["tokens"]),
    )


def event_hook(on_event: Callable[[Mapping[str, Any]], object] | None) -> Any:
    """For the native module, which tells events as JSON."""
    return None if on_event is None else lambda line: on_event(json.loads(line))


def encode_settings(chosen: Mapping[str, Any]) -> str:
    """Settings as JSON. Raises Error for a value that is no setting's, NaN and infinity too."""
    for name, value in chosen.items():
        if not isinstance(value, Setting) or (isinstance(value, float) and not isfinite(value)):
            raise load_native().Error(
                f"{name}: needs a finite number, a text, True or False; got {value!r}"
            )
    return json.dumps(chosen)


def _request(
    model: StrPath,
    images: StrPath,
    word: str,
    init: str,
    out: StrPath,
    files: Mapping[str, StrPath | None],
    *,
    resume: bool,
    overwrite: bool,
    settings: Mapping[str, Setting],
    also: Mapping[str, str] | None = None,
) -> Any:
    """files: `like`, `log` and `previews`, where they are given."""
    request = load_native().PersonalizeRequest()
    request.model, request.images, request.out = Path(model), Path(images), Path(out)
    request.word, request.initialiser = word, init
    request.settings = encode_settings(settings)
    request.resume, request.overwrite = resume, overwrite
    request.also = list((also or {}).items())
    for name, path in files.items():
        if path is not None:
            setattr(request, name, Path(path))
    return request


def train(
    model: StrPath,
    images: StrPath,
    word: str = "",
    init: str = "",
    out: StrPath = "",
    *,
    also: Mapping[str, str] | None = None,
    like: StrPath | None = None,
    log: StrPath | None = None,
    previews: StrPath | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_stage: Callable[[str], object] | None = None,
    on_forecast: Callable[[float, int], object] | None = None,
    on_step: Callable[[int, int, float, float], object] | None = None,
    on_event: Callable[[Mapping[str, Any]], object] | None = None,
    cancel: Any = None,
    **settings: Setting,
) -> TrainResult:
    """Learns the embedding of one new word from a folder of pictures (ZOODiP, arXiv 2503.14868).

    Args:
        model: a checkpoint (`.safetensors`) of Stable Diffusion 1.x, 2.x or XL, or a diffusers
            folder.
        images: a folder of pictures; `NAME.txt` beside `NAME.jpg` is its caption, with `{}` where
            the word goes. `read_folder` tells other layouts, and what would be read.
        word: the new word, for example `sks`.
        init: a known single-token word for the kind of thing, for example `dog`; several, with
            spaces between, make a word of as many vectors.
        out: the token file to write; ComfyUI loads it as an embedding.
        also: further words in the same captions, each with its `init`, learned together: in a
            caption `{sks}` stands for the word sks. `WORD.safetensors` of each lies beside `out`.
        like: a token file whose run to repeat: word, init, further words and settings are its own
            where they are not given here.
        log: a file for the run's events as JSON lines.
        previews: a folder for the pictures that `preview_every` asks for; else `OUT.previews`.
        resume: go on from the state that a stopped run left beside `out`, or a finished one, for
            more `steps`.
        overwrite: replace an earlier `out`.
        on_stage: called with what is being done.
        on_forecast: called once with (seconds a step, steps left) before the word first moves.
        on_step: called after each step with (step, steps, loss, smoothed loss). What a callback
            raises stops the run, which keeps what was learned, and is raised again here.
        on_event: called with everything that happens, as `log` has it.
        cancel: a `CancelToken`; cancelling it stops and keeps.
        settings: what differs from the defaults; `settings()` lists them.

    Raises:
        Error: for bad input and failures, in one sentence.
        Cancelled: when it was stopped before the first step.
    """
    native = load_native()
    request = _request(
        model,
        images,
        word,
        init,
        out,
        {"like": like, "log": log, "previews": previews},
        resume=resume,
        overwrite=overwrite,
        settings=settings,
        also=also,
    )
    return train_result(
        native.personalize(
            request,
            on_stage=on_stage,
            on_forecast=on_forecast,
            on_step=on_step,
            on_event=event_hook(on_event),
            cancel=native.CancelToken() if cancel is None else cancel,
        )
    )


@dataclass(frozen=True)
class Subject:
    """One of several words that are learned together; the fields are as for `train`."""

    images: StrPath
    word: str
    init: str
    out: StrPath
    log: StrPath | None = None
    previews: StrPath | None = None


def train_together(
    model: StrPath,
    subjects: Sequence[Subject],
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_stage: Callable[[str], object] | None = None,
    on_event: Callable[[str, Mapping[str, Any]], object] | None = None,
    cancel: Any = None,
    **settings: Setting,
) -> list[TrainResult | Exception]:
    """Learns several words over one copy of the model, each the word that `train` would make.

    Args:
        model, settings: as for `train`, the same for all subjects.
        subjects: what to learn, each with a word and an `out` of its own.
        resume: go on with those whose stopped runs lie beside their `out`; the others begin.
        overwrite: replace earlier files.
        on_stage: called with what is being done.
        on_event: called with (word, event), with everything that happens.
        cancel: a `CancelToken`; cancelling it stops all of them and keeps what was learned.

    Returns:
        For each subject its result, or the `Error` with which it ended, or `Cancelled` where it was
        stopped before its first step. One that fails leaves the others to go on.

    Raises:
        Error: for bad input, before a weight is read, naming the subject; and where the model
            cannot be read.
        Cancelled: when all were stopped before the first step.
    """
    native = load_native()
    requests = [
        _request(
            model,
            subject.images,
            subject.word,
            subject.init,
            subject.out,
            {"log": subject.log, "previews": subject.previews},
            resume=resume,
            overwrite=overwrite,
            settings=settings,
        )
        for subject in subjects
    ]

    def hook(word: str) -> Any:
        return event_hook(None if on_event is None else lambda event: on_event(word, event))

    results: list[TrainResult | Exception] = []
    for made in native.personalize_together(
        requests,
        on_stage=on_stage,
        on_events=[hook(subject.word) for subject in subjects],
        cancel=native.CancelToken() if cancel is None else cancel,
    ):
        if "failure" not in made:
            results.append(train_result(made))
        else:
            kind = native.Cancelled if made["cancelled"] else native.Error
            results.append(kind(made["failure"]))
    return results


def sample(
    model: StrPath,
    prompt: str,
    *,
    negative: str = "",
    tokens: StrPath | Sequence[StrPath] = (),
    width: int = 0,
    height: int = 0,
    steps: int = 20,
    guidance: float = 7.5,
    seed: int = 0,
    clip_skip: int = 1,
    prediction: str = "auto",
    zero_snr: str = "auto",
    beta_schedule: str = "auto",
    beta_start: float = 0.0,
    beta_end: float = 0.0,
    weights: str = "int8",
    compute: str = "fp32",
    device: str = "cpu",
    threads: int = 0,
    cancel: Any = None,
) -> Image:
    """Draws a picture with DPM-Solver++(2M) and classifier-free guidance; needs Pillow.

    Args:
        model: as for `train`.
        prompt, negative: what to draw and what to keep away from; `{}` is the only token's word.
        tokens: token files of words that the prompts use, or one. A word that they do not hold is a
            warning of the logger `zoodip`, as are signs that other programs obey.
        width, height: pixels; 0 takes the side of the pictures that the model was made for.
        steps, guidance: of the sampler; guidance 1 switches guidance off.
        seed: 0 to 18446744073709551615; -1 draws one. The picture's `info["seed"]` says which.
        compute: fp32 or bf16.
        clip_skip, prediction, zero_snr, beta_schedule, beta_start, beta_end, weights, device,
            threads: as in `settings()`.

    Raises:
        Error: for bad input and failures, in one sentence.
        Cancelled: when `cancel` was cancelled.
    """
    from PIL import Image

    native = load_native()
    seed = _drawn_or_given(seed)
    drawn_width, drawn_height, pixels = native.render(
        model=Path(model),
        prompt=prompt,
        negative=negative,
        tokens=path_list(tokens),
        width=width,
        height=height,
        steps=steps,
        guidance=guidance,
        seed=seed,
        clip_skip=clip_skip,
        prediction=prediction,
        zero_snr=zero_snr,
        beta_schedule=beta_schedule,
        beta_start=beta_start,
        beta_end=beta_end,
        weights=weights,
        compute=compute,
        device=device,
        threads=threads,
        cancel=native.CancelToken() if cancel is None else cancel,
    )
    image = Image.frombytes("RGB", (drawn_width, drawn_height), pixels)
    image.info["seed"] = seed
    return image


def _drawn_or_given(seed: int) -> int:
    """For -1 a random seed of 32 bits, which other programs take as well. Raises Error."""
    seed = operator.index(seed)
    if seed == -1:
        return secrets.randbits(32)
    if not 0 <= seed < 1 << 64:
        raise load_native().Error(
            f"seed: needs a whole number from 0 to {(1 << 64) - 1}, or -1 for a random one, "
            f"got {seed!r}"
        )
    return seed


def settings() -> list[Mapping[str, Any]]:
    """Every setting of `train`: name, type, default, range or choices, unit, help, equation."""
    declared: list[Mapping[str, Any]] = json.loads(load_native().describe_settings())
    return declared


def inspect(model: StrPath, *, quant: bool = False, **chosen: Setting) -> Mapping[str, Any]:
    """What a checkpoint is: family, parts, parameters, the share that is quantised, bytes by type,
    and the memory that training on it takes with the `chosen` settings.

    Args:
        model: as for `train`.
        quant: read the weights too, one at a time, and add as `quant` what the chosen `weights`
            make of them: for each part and for all, parameters, quantised, share (0 to 1),
            bytes_before (in the file), bytes_after (in memory), layers, mean_error, worst_error,
            worst_layer. The error of a layer is |W - W_q| / |W|.
        chosen: as for `train`.

    Raises:
        Error: when the file is no checkpoint that can be used, naming what it is.
    """
    native, settings = load_native(), encode_settings(chosen)
    report: dict[str, Any] = json.loads(native.inspect(Path(model), settings))
    if quant:
        report["quant"] = json.loads(native.report_quantisation(Path(model), settings))
    return report
