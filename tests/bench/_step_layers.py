"""The products of one step, batched as the engine batches it, with their shapes: every linear
layer, convolution and attention of the UNet and the text encoder.

They are counted by running diffusers' and transformers' modules on the meta device, which knows
shapes and computes nothing.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from random_modules import construct, find_shape
from torch import nn

Sizes = tuple[int, ...]
TOKENS = 77


@dataclass(frozen=True)
class Product:
    """A call and its sizes.

    conv2d: x [rows, in, height, width], other [out, in, kernel, kernel].
    linear: x [rows, tokens, in], other [out, in].
    attention: x is q [rows, heads, tokens, width], other is k [rows, heads, keys, width].
    """

    part: str  # "unet" or "text_encoder"
    kind: str
    x: Sizes
    other: Sizes
    stride: int = 1
    padding: int = 0

    def flops(self) -> int:
        """Two for each multiplication with its addition."""
        if self.kind == "linear":
            return 2 * prod(self.x) * self.other[0]
        if self.kind == "attention":
            return 4 * prod(self.x) * self.other[2]
        side = [(size + 2 * self.padding - self.other[2]) // self.stride + 1 for size in self.x[2:]]
        return 2 * self.x[0] * prod(side) * prod(self.other)


def product_of(part: str, layer: nn.Module, x: torch.Tensor) -> Product:
    """Convolutions with a kernel of 1 are linear layers over pixels."""
    weight = tuple(layer.weight.shape)
    if isinstance(layer, nn.Linear):
        rows = x.shape[0]
        return Product(part, "linear", (rows, prod(x.shape[1:-1]), x.shape[-1]), weight)
    if weight[2:] == (1, 1):
        rows, channels, height, width = x.shape
        return Product(part, "linear", (rows, height * width, channels), weight[:2])
    stride, padding = layer.stride[0], layer.padding[0]
    return Product(part, "conv2d", tuple(x.shape), weight, stride, padding)


class Tracer:
    """Lists the products of modules in the order in which they are called."""

    def __init__(self) -> None:
        self.products: list[Product] = []

    @contextlib.contextmanager
    def follow(self, part: str, module: nn.Module, shared: Callable[[str], bool]) -> Iterator[None]:
        """`shared`: whether a layer, by its name, has one row for the whole batch wherever it
        stands."""

        def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **__: Any) -> Any:
            self.products.append(Product(part, "attention", tuple(q.shape), tuple(k.shape)))
            return torch.empty_like(q)

        def hook(name: str) -> Callable[..., None]:
            def record(layer: nn.Module, inputs: tuple[torch.Tensor], _: Any) -> None:
                product = product_of(part, layer, inputs[0])
                self.products.append(one_row(product) if shared(name) else product)

            return record

        hooks = [
            layer.register_forward_hook(hook(name))
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv2d)
        ]
        with mock.patch.object(F, "scaled_dot_product_attention", attention), torch.no_grad():
            yield
        for handle in hooks:
            handle.remove()


def one_row(product: Product) -> Product:
    other = product.other
    if product.kind == "attention":
        other = (1, *other[1:])
    return replace(product, x=(1, *product.x[1:]), other=other)


def unet_products(shape: str, rows: int, resolution: int) -> list[Product]:
    """Of one batch: the sample and the timestep are the same in all rows, so that what comes before
    the first layer that reads the text, and the time embedding everywhere, has one row."""
    module = construct(find_shape(shape), "unet", "meta")
    width, side = module.config.cross_attention_dim, resolution // 8
    tracer = Tracer()
    first: list[int] = []  # how many products come before the text is first read

    def note(*_: Any) -> None:
        first.append(len(tracer.products))

    reading = next(layer for name, layer in module.named_modules() if name.endswith("attn2.to_k"))
    reading.register_forward_pre_hook(note)
    with tracer.follow("unet", module, lambda name: "time_emb" in name), torch.device("meta"):
        module(
            torch.empty(rows, 4, side, side), torch.empty(rows), torch.empty(rows, TOKENS, width)
        )
    products = tracer.products
    return [one_row(product) for product in products[: first[0]]] + products[first[0] :]


def text_products(shape: str, rows: int) -> list[Product]:
    module = construct(find_shape(shape), "text_encoder", "meta")
    tracer = Tracer()
    with tracer.follow("text_encoder", module, lambda name: False):
        module(torch.zeros(rows, TOKENS, dtype=torch.long, device="meta"))
    return tracer.products


def step_products(shape: str, n: int, resolution: int) -> Counter[Product]:
    """How often each product occurs in a step of n + 1 points."""
    return Counter(unet_products(shape, n + 1, resolution) + text_products(shape, n + 1))
