"""The arithmetic floor of a step: its products as bare calls on dense weights that lie ready.

Of every distinct product and every type the fastest known call is taken, and of its runs the
fastest. Nothing else is counted: no norm, activation, copy, softmax or unpacking of weights.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F

from ._step_jobs import ALLOWED
from ._step_layers import Product, step_products

Call = Callable[[], Any]
DENSE = {"fp32": torch.float32, "bf16": torch.bfloat16}
QUERIES = 256  # of attention at a time: scores of all queries at once would not stay in the cache


def fastest(call: Call, budget: float) -> float:
    """Seconds of the fastest run, after one to warm up; runs go on for `budget` seconds, and there
    are at least three."""
    call()
    best, begun, runs = float("inf"), time.perf_counter(), 0
    while runs < 3 or time.perf_counter() - begun < budget:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best


def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of this type on this processor."""
    return dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def dense_conv2d(product: Product, dtype: torch.dtype) -> Iterator[Call]:
    x, weight = (
        torch.randn(sizes).to(dtype).contiguous(memory_format=torch.channels_last)
        for sizes in (product.x, product.other)
    )
    stride, padding = [product.stride] * 2, [product.padding] * 2
    yield lambda: F.conv2d(x, weight, None, stride, padding)
    if not packs(dtype):
        return
    ops = torch.ops.mkldnn
    packed = ops._reorder_convolution_weight(weight, padding, stride, [1, 1], 1, list(x.shape))
    yield lambda: ops._convolution_pointwise(
        x, packed, None, padding, stride, [1, 1], 1, "none", [], ""
    )


def dense_linear(product: Product, dtype: torch.dtype) -> Iterator[Call]:
    x = torch.randn(product.x).to(dtype).flatten(0, 1)
    weight = torch.randn(product.other).to(dtype)
    yield lambda: F.linear(x, weight)
    if not packs(dtype):
        return
    ops = torch.ops.mkldnn
    packed = ops._reorder_linear_weight(weight, x.shape[0])
    yield lambda: ops._linear_pointwise(x, packed, None, "none", [], "")


def tiles(product: Product) -> tuple[Product, float]:
    """Attention with fewer queries, and how many of those make up the whole."""
    queries = min(product.x[2], QUERIES)
    x = (*product.x[:2], queries, product.x[3])
    return Product(product.part, product.kind, x, product.other), product.x[2] / queries


def whole_attention(product: Product, dtype: torch.dtype) -> Call:
    """With its softmax."""
    q, k = torch.randn(product.x).to(dtype), torch.randn(product.other).to(dtype)
    return lambda: F.scaled_dot_product_attention(q, k, k)


def bare_attention(product: Product, dtype: torch.dtype) -> Call:
    """The two products q k^T and p v alone."""
    q, k = (torch.randn(x).to(dtype).flatten(0, 1) for x in (product.x, product.other))
    keys, scores = k.mT.contiguous(), torch.empty(*q.shape[:2], k.shape[1], dtype=dtype)
    out = torch.empty_like(q)

    def call() -> torch.Tensor:
        torch.bmm(q, keys, out=scores)
        return torch.bmm(scores, k, out=out)

    return call


def int8_conv2d(product: Product) -> Iterator[Call]:
    """uint8 activations, bf16 results."""
    x = torch.randint(0, 255, product.x, dtype=torch.uint8)
    x = x.contiguous(memory_format=torch.channels_last)
    weight, scales, zeros = int8_weight(product)
    stride, padding, ops = [product.stride] * 2, [product.padding] * 2, torch.ops.onednn
    packed = ops.qconv_prepack(weight, scales, 0.05, 128, stride, padding, [1, 1], 1, list(x.shape))
    places = (stride, padding, [1, 1], 1)
    yield lambda: ops.qconv2d_pointwise(
        x, 0.05, 128, packed, scales, zeros, None, *places, 1.0, 0, torch.bfloat16, "none", [], ""
    )


def int8_linear(product: Product) -> Iterator[Call]:
    x = torch.randint(0, 255, product.x, dtype=torch.uint8).flatten(0, 1)
    weight, scales, zeros = int8_weight(product)
    packed = torch.ops.onednn.qlinear_prepack(weight, list(x.shape))
    yield lambda: torch.ops.onednn.qlinear_pointwise(
        x, 0.05, 128, packed, scales, zeros, None, 1.0, 0, torch.bfloat16, "none", [], ""
    )


def int8_weight(product: Product) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, and scales and zero-points of the output channels."""
    channels = product.other[0]
    values = torch.randint(-127, 127, product.other, dtype=torch.int8)
    return values, torch.full((channels,), 0.01), torch.zeros(channels, dtype=torch.int32)


def calls_of(product: Product, kind: str) -> Iterator[tuple[Call, float]]:
    """The calls that make the product in the type `kind`, if there are any, and how often each
    is needed."""
    if product.kind == "attention" and kind in DENSE:
        yield whole_attention(product, DENSE[kind]), 1
        tile, count = tiles(product)
        yield bare_attention(tile, DENSE[kind]), count
        return
    if kind == "int8":
        calls = {"conv2d": int8_conv2d, "linear": int8_linear}.get(product.kind)
        made = calls(product) if calls else ()
    else:
        calls = {"conv2d": dense_conv2d, "linear": dense_linear}[product.kind]
        made = calls(product, DENSE[kind])
    for call in made:
        yield call, 1


def floor(
    shape: str, n: int, resolution: int, computes: list[str], budget: float, threads: int
) -> dict[str, Any]:
    """Worker: all distinct products of a step with their counts and, in each type that one of
    `computes` may take, their rates in FLOP/s. `budget`: seconds for each call."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    products = step_products(shape, n, resolution)
    needed = sorted({kind for compute in computes for kind in ALLOWED[compute]})
    seconds: dict[tuple[Product, str], float] = {}
    with torch.no_grad():
        for product, kind in itertools.product(products, needed):
            took = [many * fastest(call, budget) for call, many in calls_of(product, kind)]
            if took:
                seconds[product, kind] = min(took)
    return {
        "computes": computes,
        "products": [
            asdict(product)
            | {"count": count, "flops": product.flops()}
            | {"rates": {k: product.flops() / s for (p, k), s in seconds.items() if p == product}}
            for product, count in products.items()
        ],
    }
