"""Where the time of a step goes: calls of the engine by name and shapes, from torch's profiler."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

LAYERS = "zoodip::"  # the engine's own annotations; around ATen's calls where it makes any
# Where the arguments stand: x and the weight, of convolutions stride and padding as well.
CONVOLUTIONS = {
    "aten::mkldnn_convolution": (0, 1, 4, 3),
    "aten::_slow_conv2d_forward": (0, 1, 4, 5),
    "mkldnn::_convolution_pointwise": (0, 1, 4, 3),
    "onednn::qconv2d_pointwise": (0, 3, 7, 8),
    "zoodip::conv2d": (0, 1, 3, 4),
}
PRODUCTS = {
    "aten::addmm": (1, 2),
    "aten::mm": (0, 1),
    "aten::bmm": (0, 1),
    "aten::baddbmm": (1, 2),
    "mkldnn::_linear_pointwise": (0, 1),
    "onednn::qlinear_pointwise": (0, 3),
    "zoodip::linear": (0, 1),
}
ATTENTION = ("aten::_scaled_dot_product_flash_attention_for_cpu", "zoodip::attention")


@dataclass
class Line:
    """Calls of one name with the same shapes."""

    name: str
    shapes: str
    calls: int = 0
    seconds: float = 0.0
    flops: int = 0

    def rate(self) -> float:
        """FLOP/s."""
        return self.flops / self.seconds if self.seconds else 0.0


def _both(size: Any) -> tuple[int, int]:
    """Height and width of a stride or padding, given as a number or a list of one or two."""
    values = list(size) if isinstance(size, list | tuple) else [size]
    return values[0], values[-1]


def flops_of(name: str, shapes: list[list[int]], values: list[Any]) -> int:
    """Two for each multiplication with its addition; 0 for what is no product, and where the
    shapes were not recorded. `shapes` and `values` are those of the arguments."""

    def shape(index: int) -> list[int]:
        return shapes[index] if index < len(shapes) else []

    if name in CONVOLUTIONS:
        x, weight, stride, padding = CONVOLUTIONS[name]
        if len(shape(x)) != 4 or len(shape(weight)) != 4 or len(values) <= max(stride, padding):
            return 0
        steps, edges = _both(values[stride]), _both(values[padding])
        kernel = shape(weight)[2:]
        side = [
            (size + 2 * edge - width) // step + 1
            for size, edge, width, step in zip(shape(x)[2:], edges, kernel, steps, strict=True)
        ]
        return 2 * shape(x)[0] * prod(side) * prod(shape(weight))
    if name in PRODUCTS:
        x, other = (shape(index) for index in PRODUCTS[name])
        if not x or len(other) < 2:
            return 0
        batch = other[0] if len(other) == 3 else 1
        inner = x[1] if len(x) == 4 else x[-1]  # of pictures [rows, channels, height, width]
        return 2 * prod(x) * (prod(other) // (batch * inner))
    if name in ATTENTION and len(shape(1)) > 2:
        rows = max(shape(0)[0], shape(1)[0])
        return 4 * rows * prod(shape(0)[1:]) * shape(1)[-2]
    return 0


def group(events: Iterable[Any], layers: bool) -> list[Line]:
    """By name and shapes, the longest first: the engine's `layers` with all that they call, or all
    calls, each without those that it makes itself (then the sum is the whole).

    `events` are those of torch.autograd.profiler_util.
    """
    lines: dict[tuple[str, str], Line] = {}
    for event in events:
        if layers and not event.name.startswith(LAYERS):
            continue
        seconds = (event.cpu_time_total if layers else event.self_cpu_time_total) / 1e6
        shapes = " ".join("x".join(map(str, sizes)) for sizes in event.input_shapes if sizes)
        line = lines.setdefault((event.name, shapes), Line(event.name, shapes))
        line.calls += 1
        line.seconds += seconds
        if seconds > 0.5 * event.cpu_time_total / 1e6:  # the work is done here, not further down
            line.flops += flops_of(event.name, event.input_shapes, event.concrete_inputs)
    return sorted(lines.values(), key=lambda line: -line.seconds)


def profile(checkpoint: str, compute: str, n: int, resolution: int, threads: int) -> dict[str, Any]:
    """Worker: one `losses` of n + 1 points with INT8 weights after one to warm up; its seconds and
    its lines."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record
    from zoodip import _native

    torch.set_num_threads(threads)
    source = _native.open_weights(checkpoint)
    found = source.architecture()
    heads = {"heads": found["unet_heads"], "head_width": found["unet_head_width"]}
    objective = _native.Objective(
        [
            _native.TextEncoder(source, weights="int8", preset=found["preset"], index=index)
            for index in range(len(found["text_encoders"]))
        ],
        _native.UNet(source, weights="int8", compute=compute, **heads),
        word="sks",
        captions=["a photo of a {}"],
        size_width=found["size_width"],
        side=resolution,
    )
    generator = torch.Generator().manual_seed(0)
    thetas = 0.02 * torch.randn(n + 1, found["text_width"], generator=generator)
    z, eps = torch.randn(2, 1, 4, resolution // 8, resolution // 8, generator=generator)
    objective.calibrate(thetas[0], [(0, 700, z, eps)])  # does nothing but for compute int8
    objective.losses(thetas, 0, 700, z, eps)
    with record(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        begun = time.perf_counter()
        objective.losses(thetas, 0, 700, z, eps)
        seconds = time.perf_counter() - begun
    events = recorded.events()
    return {
        "seconds": seconds,
        "layers": [asdict(line) for line in group(events, layers=True)],
        "calls": [asdict(line) for line in group(events, layers=False)],
    }


def table(lines: list[Line], whole: float, rows: int = 40) -> str:
    """The longest lines; `whole` is the step's seconds."""
    text = ["| call | shapes | calls | seconds | share | GFLOP/s |", "|-|-|-|-|-|-|"]
    for line in lines[:rows]:
        rate = f"{line.rate() / 1e9:.0f}" if line.flops else ""
        text.append(
            f"| {line.name} | {line.shapes} | {line.calls} | {line.seconds:.4f} | "
            f"{line.seconds / whole:.1%} | {rate} |"
        )
    rest = sum(line.seconds for line in lines[rows:])
    text.append(
        f"| {max(0, len(lines) - rows)} other lines | | | {rest:.4f} | {rest / whole:.1%} | |"
    )
    return "\n".join(text)


def report(profiles: dict[str, dict[str, Any]]) -> str:
    """`profiles`: the worker's answers by compute type."""
    parts = []
    for compute, found in profiles.items():
        parts.append(f"## INT8 weights, compute {compute}: {found['seconds']:.3f} s a step")
        for name, title in (
            ("layers", "Layers, with what they call"),
            ("calls", "Calls, each without those that it makes"),
        ):
            lines = [Line(**line) for line in found[name]]
            if lines:
                parts += [f"{title}:", table(lines, found["seconds"])]
    return "\n\n".join(parts) + "\n"
