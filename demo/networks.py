"""The demo model's three networks, as diffusers and transformers know them, and its vocabulary.

All are of the Stable Diffusion 1.x family, only narrow: CLIP text encoder with CLIP's byte-pair
vocabulary, a UNet with cross attention, and an autoencoder in TAESD's layout.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from .world import BREEDS, CLASSES, COLOURS, PATTERNS, Look

TEXT_WIDTH = 128
TEXT_HEADS = 4
UNET_HEADS = 4
LATENT = 16  # side of the latent of a 128 x 128 picture
VOCABULARY = 49408
START, END = 49406, 49407
TOKENS = 77


def build_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT,
        block_out_channels=(64, 96, 160),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=UNET_HEADS,  # the number of heads: the name misleads in this family
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )


def build_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=TOKENS,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=TEXT_HEADS,
            hidden_act="quick_gelu",
            bos_token_id=START,
            eos_token_id=END,
        )
    )


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

    def __init__(self, ids: list[int], class_ids: list[int]) -> None:
        super().__init__()
        self.rows = nn.Embedding(len(ids), TEXT_WIDTH)
        factors = 2 * len(COLOURS) + len(PATTERNS)
        self.factors = nn.Embedding(factors + 1, TEXT_WIDTH)  # the last says nothing
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
