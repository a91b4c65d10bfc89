"""The demo models' networks, as diffusers and transformers know them, and their vocabulary.

Both are of published families, only narrow: CLIP text encoders with CLIP's byte-pair vocabulary, a
UNet with cross attention, and an autoencoder in TAESD's layout, which they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .schedule import Schedule
from .world import BREEDS, CLASSES, COLOURS, PATTERNS, SIZE, Look

UNET_HEADS = 4
LATENT = 16  # side of the latent of a 128 x 128 picture
VOCABULARY = 49408
START, END = 49406, 49407
TOKENS = 77
SIZE_WIDTH = 256  # numbers of each of the six sizes


@dataclass(frozen=True)
class TextKind:
    """A CLIP text encoder."""

    key: str  # of its half of a word in a token file
    width: int
    layers: int
    activation: str
    padding: int  # the id after the first END
    taken: int  # which of the hidden states, from the end, is the context
    final_norm: bool  # of what is taken
    pooled: bool = False  # whether its projected state at END conditions the UNet
    heads: int = 4


@dataclass(frozen=True)
class DemoKind:
    """One of the demo models."""

    name: str
    title: str
    architecture: str  # of modelspec
    texts: tuple[TextKind, ...]
    schedule: Schedule
    latent_scale: float  # of the family
    unet: dict[str, Any]

    @property
    def text_width(self) -> int:
        """Numbers of one word, in all encoders together."""
        return sum(text.width for text in self.texts)

    @property
    def pooled(self) -> bool:
        """Whether a vector of pooled text and sizes conditions the UNet."""
        return any(text.pooled for text in self.texts)


SD1 = DemoKind(
    name="sd1",
    title="ZOODiP demo model",
    architecture="stable-diffusion-v1",
    texts=(TextKind("clip_l", 128, 2, "quick_gelu", padding=END, taken=1, final_norm=True),),
    schedule=Schedule(),
    latent_scale=0.18215,
    unet={
        "block_out_channels": (64, 96, 160),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    },
)
XL = DemoKind(
    name="xl",
    title="ZOODiP demo model XL",
    architecture="stable-diffusion-xl-v1-base",
    texts=(
        TextKind("clip_l", 64, 3, "quick_gelu", padding=END, taken=2, final_norm=False),
        TextKind("clip_g", 128, 3, "gelu", padding=0, taken=2, final_norm=False, pooled=True),
    ),
    schedule=Schedule(predicts_v=True, zero_snr=True),
    latent_scale=0.13025,
    unet={
        "block_out_channels": (64, 96, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZE_WIDTH,
        "projection_class_embeddings_input_dim": 128 + 6 * SIZE_WIDTH,
    },
)
# Not shipped: claims about learning are held against it as well.
NARROW = replace(
    SD1,
    name="narrow",
    title="ZOODiP demo model, narrow",
    texts=(replace(SD1.texts[0], width=96),),
    unet=SD1.unet | {"block_out_channels": (64, 96, 128)},
)
KINDS = {kind.name: kind for kind in (SD1, XL, NARROW)}


def build_unet(kind: DemoKind) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT,
        layers_per_block=1,
        cross_attention_dim=kind.text_width,
        attention_head_dim=UNET_HEADS,  # the number of heads: the name misleads in these families
        **kind.unet,
    )


def build_text_encoder(text: TextKind) -> CLIPTextModel | CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=TOKENS,
        hidden_size=text.width,
        intermediate_size=4 * text.width,
        projection_dim=text.width,
        num_hidden_layers=text.layers,
        num_attention_heads=text.heads,
        hidden_act=text.activation,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=text.padding,
    )
    return CLIPTextModelWithProjection(config) if text.pooled else CLIPTextModel(config)


# As the families have it: height and width of the picture before it was resized, top and left of
# the crop, height and width that were aimed at.
PLAIN_SIZES = (SIZE, SIZE, 0, 0, SIZE, SIZE)


@dataclass
class Conditioning:
    """What the UNet is given beside the noisy latent."""

    context: Tensor  # [b, 77, width]
    pooled: Tensor | None  # [b, width]

    def keywords(self, sizes: Tensor | None = None) -> dict[str, Any]:
        """For the UNet's forward; sizes [b, 6], PLAIN_SIZES when None."""
        if self.pooled is None:
            return {"encoder_hidden_states": self.context}
        if sizes is None:
            sizes = torch.tensor([PLAIN_SIZES]).expand(len(self.context), -1)
        added = {"text_embeds": self.pooled, "time_ids": sizes}
        return {"encoder_hidden_states": self.context, "added_cond_kwargs": added}


class TextEncoders(nn.Module):
    """The text encoders of a kind, in the order of their widths in the context."""

    def __init__(self, kind: DemoKind) -> None:
        super().__init__()
        self.kinds = kind.texts
        self.encoders = nn.ModuleList(build_text_encoder(text) for text in kind.texts)

    def forward(self, ids: Tensor) -> Conditioning:
        """ids [b, 77] padded with END; each encoder gets its own padding."""
        states, pooled = [], None
        after = (ids == END).int().cumsum(1) > 1
        for text, encoder in zip(self.kinds, self.encoders, strict=True):
            output = encoder(ids.masked_fill(after, text.padding), output_hidden_states=True)
            state = output.hidden_states[-text.taken]
            states.append(_inner(encoder).final_layer_norm(state) if text.final_norm else state)
            if text.pooled:
                pooled = output.text_embeds
        return Conditioning(torch.cat(states, 2), pooled)

    def tables(self) -> list[nn.Module]:
        return [_inner(encoder).embeddings.token_embedding for encoder in self.encoders]

    def set_tables(self, tables: Sequence[nn.Module]) -> None:
        for encoder, table in zip(self.encoders, tables, strict=True):
            _inner(encoder).embeddings.token_embedding = table


def _inner(encoder: nn.Module) -> nn.Module:
    """The text model, inside of the one with a projection."""
    return getattr(encoder, "text_model", encoder)


def build_autoencoder() -> AutoencoderTiny:
    """Half as wide as TAESD. Every stage has a block where TAESD has one, so that zeros pad these
    weights to TAESD's own shape without a change of what they compute."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(1, 1, 1, 2),
        num_decoder_blocks=(2, 1, 1, 1),
        latent_channels=4,
        scaling_factor=1.0,
    )


class Vocabulary(nn.Module):
    """Token embeddings while the text encoder is trained: the rows of the words that occur.

    Ids are CLIP's. An id from VOCABULARY on stands for a word that says a whole look at once, as
    "beagle" does: its row is the row of the class plus learned rows for body colour, second
    colour and pattern. One such word for each look would be too many to learn one by one, and the
    sum makes what any one word can say as rich as what a phrase can.
    """

    def __init__(self, ids: list[int], class_ids: list[int], width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(len(ids), width)
        factors = 2 * len(COLOURS) + len(PATTERNS)
        self.factors = nn.Embedding(factors + 1, width)  # the last says nothing
        nn.init.normal_(self.rows.weight, std=0.02)
        nn.init.normal_(self.factors.weight, std=0.02)
        place = torch.full((VOCABULARY,), -1, dtype=torch.long)
        place[ids] = torch.arange(len(ids))
        self.register_buffer("place", place)
        self.register_buffer("class_places", place[class_ids].clone())

    def look_row(self, codes: torch.Tensor) -> torch.Tensor:
        """codes [k, 4] of `encode_look` -> rows [k, width]."""
        row = self.rows(self.class_places[codes[:, 0]])
        known = (codes[:, 1:] < self.factors.num_embeddings - 1).unsqueeze(-1)
        return row + (self.factors(codes[:, 1:]) * known).sum(1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        named = ids >= VOCABULARY
        rows = self.rows(self.place[ids.where(~named, END)])
        if named.any():
            rows = rows.index_put((named,), self.look_row(_unpack(ids[named] - VOCABULARY)))
        return rows


_RADIX = 2 * len(COLOURS) + len(PATTERNS) + 1


def encode_look(look: Look, body: bool = True, second: bool = True, pattern: bool = True) -> int:
    """The id of the word that says this look, or the parts of it that are asked for."""
    colours, nothing = list(COLOURS), _RADIX - 1
    codes = [
        CLASSES.index(look.kind),
        colours.index(look.body) if body else nothing,
        len(colours) + colours.index(look.second) if second else nothing,
        2 * len(colours) + list(PATTERNS).index(look.pattern) if pattern else nothing,
    ]
    value = 0
    for code in codes:
        value = value * _RADIX + code
    return VOCABULARY + value


def _unpack(values: torch.Tensor) -> torch.Tensor:
    """[k] -> [k, 4], the codes of `encode_look`."""
    codes = []
    for _ in range(3):
        codes.append(values % _RADIX)
        values = values // _RADIX
    return torch.stack([values, *reversed(codes)], 1)


def breed_rows(vocabulary: Vocabulary) -> dict[str, torch.Tensor]:
    """The rows of the words that mean one look each."""
    with torch.no_grad():
        return {
            word: vocabulary.look_row(_unpack(torch.tensor([encode_look(look) - VOCABULARY])))[0]
            for word, look in BREEDS.items()
        }
