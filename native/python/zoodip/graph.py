"""Training on what a graph holds: weights that are pulled one at a time, pictures and token ids.

`zoodip.train` takes files; this takes objects, so that a host program can hand over its own model
with whatever it has patched into it, and its own tokenizer's ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ._api import Setting, StrPath, TrainResult, encode_settings, event_hook, train_result
from ._loader import load_native

if TYPE_CHECKING:
    from torch import Tensor, dtype

    Initialiser = tuple[str, int | Sequence[int] | Mapping[str, Tensor] | Tensor]


def _by_encoder(vectors: Mapping[str, Tensor] | Tensor) -> dict[str, Tensor]:
    """A tensor is that of a model's only text encoder."""
    return dict(vectors) if isinstance(vectors, Mapping) else {"": vectors}


@dataclass(frozen=True)
class Weights:
    """Weights under the names of original checkpoints (`model.diffusion_model.*`,
    `cond_stage_model.transformer.text_model.*`, `first_stage_model.*`)."""

    description: str
    """For messages: what this is."""
    tensors: Sequence[tuple[str, Sequence[int], dtype]]
    """Name, shape and stored type of every tensor."""
    get: Callable[[str], Tensor]
    """Hands over one of them; called from the training thread."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """`zoodip.unet_heads`, `zoodip.text_heads`, `zoodip.prediction_type`, `zoodip.latent_scale`,
    `zoodip.latent_shift`, `zoodip.resolution` and the like (`native/nn/family.h`): what shapes do
    not say."""


@dataclass(frozen=True)
class Text:
    """A text as token ids, with the places of the new word and of other learned words."""

    ids: Tensor
    """int64 [1, tokens]."""
    places: Sequence[int] = ()
    """Where the new word's vector goes, for each time it occurs."""
    fixed_positions: Sequence[int] = ()
    fixed_vectors: Mapping[str, Tensor] | Tensor = field(default_factory=dict)
    """By text encoder ("clip_l"), or of the only one: float32 [positions, width], those of other
    words."""
    words: Sequence[int] = ()
    """Of each place, which of several new words goes there; empty where there is one."""

    def native(self) -> Any:
        return load_native().PreparedText(
            self.ids,
            list(self.places),
            list(self.fixed_positions),
            _by_encoder(self.fixed_vectors),
            list(self.words),
        )


@dataclass(frozen=True)
class Picture:
    """One picture of the subject."""

    name: str
    pixels: Tensor
    """uint8 [height, width, 3]."""
    sha256: str
    caption: str
    text: Text


@dataclass(frozen=True)
class Expected:
    """What the owner's own objects make of given inputs; each part may be absent.

    The engine computes the same before the first step, and refuses with the figure when it
    disagrees by more than quantised weights explain.
    """

    latent: tuple[Tensor, Tensor] | None = None
    """Pixels [1, 3, h, w] in [-1, 1] and their latents in the UNet's scale."""
    text: tuple[Text, Tensor] | tuple[Text, Tensor, Tensor | None] | None = None
    """A text without the word, its states [1, tokens, width], those of several encoders beside each
    other, and the pooled vector [1, width] where the UNet takes one."""
    denoised: tuple[Tensor, int, Tensor, Tensor] | tuple[Any, ...] | None = None
    """z_t [1, 4, h, w] = sqrt(a) z + sqrt(1 - a) eps, its timestep, the context
    [1, tokens, width], x0 and, where the UNet takes one, the vector conditioning y [1, numbers]."""

    def native(self) -> Any:
        check = load_native().SelfCheck()
        if self.latent is not None:
            check.latent(*self.latent)
        if self.text is not None:
            text, *states = self.text
            check.text(text.native(), *states)
        if self.denoised is not None:
            check.denoised(*self.denoised)
        return check


@dataclass(frozen=True)
class Hooks:
    """What is called from the training thread. What one raises stops the run, which keeps what was
    learned, and is raised again."""

    on_stage: Callable[[str], object] | None = None
    on_forecast: Callable[[float, int], object] | None = None
    """(seconds a step, steps left) before the word first moves."""
    on_step: Callable[[int, int, float, float], object] | None = None
    """(step, steps, loss, smoothed loss)."""
    on_event: Callable[[Mapping[str, Any]], object] | None = None
    """Everything that happens, as the log of `zoodip.train` has it."""
    on_preview: Callable[[int, Tensor], object] | None = None
    """(step, latents in the UNet's scale [1, 4, side / 8, side / 8])."""
    preview_share: float = 0.0
    """The share of the run's time that previews may take, from 0 (none) to 1."""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a family."""

    key: str
    """Of its vectors in token files and on a host's wires: "clip_l"."""
    root: str
    """What its tensors' names begin with, those of transformers behind it."""
    activation: str
    """"quick_gelu" or "gelu"."""
    layer: int
    """Whose states the UNet attends to, from the end: 1 is the last."""
    pooled: bool
    """Whether its pooled vector conditions the UNet."""

    @property
    def projection(self) -> str:
        """The tensor through which the pooled vector goes."""
        return self.root.removesuffix("text_model.") + "text_projection.weight"


@dataclass(frozen=True)
class Family:
    """A family of models that can be trained."""

    name: str
    preset: str
    encoders: tuple[TextEncoder, ...]
    """In the order in which the UNet has their states."""
    vector_conditioning: bool
    """Whether the UNet takes a vector beside the text."""


def families() -> tuple[Family, ...]:
    """Those that the engine knows."""
    return tuple(
        Family(
            one["name"],
            one["preset"],
            tuple(TextEncoder(**encoder) for encoder in one["encoders"]),
            one["vector_conditioning"],
        )
        for one in load_native().families()
    )


def family_with(encoders: Iterable[str]) -> Family | None:
    """The one that has just these text encoders, by their keys in any order."""
    wanted = sorted(encoders)
    for family in families():
        if sorted(encoder.key for encoder in family.encoders) == wanted:
            return family
    return None


def text_encoders_of(path: StrPath) -> tuple[str, ...]:
    """The keys of the text encoders of the model in a file or a folder.

    Raises Error for what is no model that can be trained.
    """
    found = load_native().open_weights(Path(path)).architecture()
    return tuple(one["key"] for one in found["text_encoders"])


def _source(weights: Weights | StrPath) -> Any:
    native = load_native()
    if not isinstance(weights, Weights):
        return native.open_weights(Path(weights))
    listed = [(name, list(shape), kind) for name, shape, kind in weights.tensors]
    return native.weights_from(weights.description, dict(weights.metadata), listed, weights.get)


def memory(weights: Weights | StrPath, settings: Mapping[str, Setting] | None = None) -> int:
    """Bytes that `train` takes at its peak with these weights and settings.

    Raises:
        Error: for weights that cannot be trained on, naming what they are, and for bad settings.
    """
    native = load_native()
    return int(native.estimate_memory(_source(weights), encode_settings(settings or {})))


def resolve(
    weights: Weights | StrPath,
    settings: Mapping[str, Setting] | None = None,
    *,
    fit: bool = True,
) -> dict[str, Setting]:
    """All settings as a training with these weights has them: what 0 and "auto" stand for is
    decided, method auto by what the device has free.

    Args:
        weights, settings: as for `train`.
        fit: decide the chunk by what is free, too; False leaves that to the training, for a host
            that makes room before it.

    Raises:
        Error: as `memory`; with `fit`, when the training would not fit.
    """
    return decide(weights, settings, fit=fit)[0]


def decide(
    weights: Weights | StrPath,
    settings: Mapping[str, Setting] | None = None,
    *,
    fit: bool = True,
) -> tuple[dict[str, Setting], str]:
    """What `resolve` gives, and in a sentence why `compute` became what it is; "" where it was
    chosen."""
    encoded = encode_settings(settings or {})
    decided, reason = load_native().resolve_settings(_source(weights), encoded, fit)
    return json.loads(decided), reason


def train(
    weights: Weights | StrPath,
    pictures: Sequence[Picture],
    word: str,
    initialiser: Initialiser,
    out: StrPath,
    *,
    empty_text: Text,
    alphas_cumprod: Sequence[float] | None = None,
    expected: Expected | None = None,
    compute_choice: str = "",
    also: Sequence[tuple[str, Initialiser]] = (),
    resume: bool = False,
    overwrite: bool = False,
    hooks: Hooks | None = None,
    cancel: Any = None,
    settings: Mapping[str, Setting] | None = None,
) -> TrainResult:
    """Learns the embedding of one new word, as `zoodip.train` does.

    Args:
        weights: the model, or a checkpoint's path.
        pictures: with their captions as ids.
        word: the new word.
        initialiser: how the user wrote it, and its token ids or its vectors [count, width], by text
            encoder or of the only one.
        out: the token file to write.
        empty_text: the empty prompt's ids, for previews.
        alphas_cumprod: 1000 numbers, where the schedule is not that of the weights' metadata and
            the settings.
        expected: what to compare the engine with before the first step.
        compute_choice: why `compute` in the settings is what it is, as `decide` told; the token
            keeps it.
        also: further words in the same captions, each with its initialiser; `Text.words` tells
            their places. `WORD.safetensors` of each lies beside `out`.
        resume, overwrite, cancel, settings: as for `zoodip.train`.

    Raises:
        Error: for bad input and failures, in one sentence.
        Cancelled: when it was stopped before the first step.
    """
    hooks = hooks or Hooks()
    result = load_native().personalize_graph(
        _request(
            _source(weights),
            pictures,
            word,
            initialiser,
            empty_text,
            alphas_cumprod,
            settings,
            expected,
            compute_choice,
            also,
        ),
        out=Path(out),
        resume=resume,
        overwrite=overwrite,
        on_stage=hooks.on_stage,
        on_forecast=hooks.on_forecast,
        on_step=hooks.on_step,
        on_event=event_hook(hooks.on_event),
        on_preview=hooks.on_preview,
        preview_share=hooks.preview_share,
        cancel=load_native().CancelToken() if cancel is None else cancel,
    )
    return train_result(result)


def _request(
    source: Any,
    pictures: Sequence[Picture],
    word: str,
    initialiser: Initialiser,
    empty_text: Text,
    alphas_cumprod: Sequence[float] | None,
    settings: Mapping[str, Setting] | None,
    expected: Expected | None = None,
    compute_choice: str = "",
    also: Sequence[tuple[str, Initialiser]] = (),
) -> Any:
    native = load_native()
    return native.GraphRequest(
        source=source,
        pictures=[
            native.TrainingPicture(p.name, p.sha256, p.caption, p.text.native(), p.pixels)
            for p in pictures
        ],
        word=word,
        initialiser=initialiser[0],
        start=_start(initialiser),
        settings=encode_settings(settings or {}),
        alphas_cumprod=None if alphas_cumprod is None else list(alphas_cumprod),
        empty_text=empty_text.native(),
        check=(expected or Expected()).native(),
        compute_choice=compute_choice,
        also=[(other, kind[0], _start(kind)) for other, kind in also],
    )


def _start(initialiser: Initialiser) -> Any:
    start = initialiser[1]
    if isinstance(start, int):
        return [start]
    return start if isinstance(start, Sequence) else _by_encoder(start)


class GraphHost(Protocol):
    """What `learn` asks of the program whose graph it is, in the thread that calls it. What a
    method raises ends the training, which keeps what was learned, and is raised again."""

    preview_share: float
    """The share of the time that previews may take, from 0 (none) to 1."""

    def free_memory(self, needed: int) -> None:
        """Makes so many bytes free on the device."""

    def expected(self) -> Any:
        """`Expected(...).native()`, of the program's own model."""

    def park(self) -> None:
        """Holds the program's own model small until `learn` returns."""

    def on_step(self, step: int, steps: int) -> None:
        """Called a few times a second while steps are made, and after the last one."""

    def draw(self, step: int, latents: Tensor) -> bytes | None:
        """A JPEG of latents in the UNet's scale [1, 4, side / 8, side / 8]; None where nothing can
        draw them."""


@dataclass(frozen=True)
class Learned:
    """What a graph's training gives."""

    token: Path
    losses: list[float] = field(repr=False)
    """Of all steps, without those that were not finite."""
    steps: int = 0
    finished: bool = True
    """False: it was asked to stop and to keep; asked again, it goes on."""
    also: list[Path] = field(default_factory=list)
    """The tokens of further words, in their order."""


@dataclass(frozen=True)
class GraphSubject:
    """One of the words that a node asks for at once; the fields are as for `train`."""

    job: Any
    """Of `zoodip.service.Service.begin`, which shows it."""
    pictures: Sequence[Picture]
    word: str
    initialiser: Initialiser
    also: Sequence[tuple[str, Initialiser]] = ()


def learn(
    subjects: Sequence[GraphSubject],
    weights: Weights | StrPath,
    digest: str,
    *,
    empty_text: Text,
    host: GraphHost,
    interruption: type[BaseException],
    alphas_cumprod: Sequence[float] | None = None,
    settings: Mapping[str, Setting] | None = None,
) -> list[Learned]:
    """Learns words for a node of a graph, or finds them learned: a finished training of the same
    inputs is given back, one that ended early goes on, and so does one of fewer steps. Several are
    learned together, over one copy of the model.

    Args:
        subjects: each with its job. The first one's is the node's: what stops it stops all.
        digest: stands for the weights with all that is patched into them.
        interruption: what ends a prompt without being an error.
        others: as for `train`, the same for all.

    Raises:
        Error: for bad input and failures, in one sentence, once all have ended.
        Cancelled: when it was interrupted; what was learned is kept.
    """
    source = _source(weights)
    requests = [
        _request(
            source,
            subject.pictures,
            subject.word,
            subject.initialiser,
            empty_text,
            alphas_cumprod,
            settings,
            also=subject.also,
        )
        for subject in subjects
    ]
    learned = load_native().learn_in_graph(
        [subject.job for subject in subjects],
        requests,
        weights=digest,
        host=host,
        interruption=interruption,
    )
    return [Learned(**one) for one in learned]
