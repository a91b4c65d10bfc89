"""The step benchmark: what it counts, what it divides, and that both sides run."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from make_checkpoint import write_diffusers_folder

from tests.bench import _step_floor, _step_gradient, _step_ours, _step_profile, _step_reference
from tests.bench._step_jobs import ROWS, jobs_of
from tests.bench._step_layers import Product, step_products, text_products, unet_products
from tests.bench._step_model import Setup
from tests.bench._step_report import report
from tests.bench._step_rows import Row, all_rows, floor_of
from tests.bench._step_scaling import FULL, Job, along, points_of
from tests.bench._step_worker import WorkerError, ask

TERA = 1e12


def flops_by_kind(products: list[Product]) -> Counter:
    total: Counter = Counter()
    for product in products:
        total[product.kind] += product.flops()
    return total


def test_products_of_one_unet_pass_add_up_to_the_known_total() -> None:
    """0.80 TFLOP: 0.40 in convolutions of 3x3, 0.28 in linear layers, of which 0.10 are written as
    convolutions of 1x1, and 0.12 in attention."""
    total = flops_by_kind(unet_products("sd15", rows=1, resolution=512))
    assert total["conv2d"] / TERA == pytest.approx(0.400, abs=0.005)
    assert total["linear"] / TERA == pytest.approx(0.277, abs=0.005)
    assert total["attention"] / TERA == pytest.approx(0.126, abs=0.005)


def test_what_does_not_read_the_text_is_counted_once() -> None:
    one, three = (unet_products("sd15", rows, 512) for rows in (1, 3))
    assert len(one) == len(three)
    same = [a == b for a, b in zip(one, three, strict=True)]
    # Two of the time embedding, conv_in, three of a residual block, proj_in, five of self
    # attention, the first query of the text; later on 21 projections of the time embedding.
    assert all(same[:13]) and not same[13]
    assert sum(same) == 13 + 21
    assert flops_by_kind(text_products("sd15", 3)) == Counter(
        {kind: 3 * flops for kind, flops in flops_by_kind(text_products("sd15", 1)).items()}
    )


def test_stride_and_padding_count() -> None:
    convolution = Product("unet", "conv2d", (1, 2, 8, 8), (3, 2, 3, 3), stride=2, padding=1)
    assert convolution.flops() == 2 * (4 * 4) * 3 * (2 * 3 * 3)


SHAPES = {
    "conv2d": (Product("unet", "conv2d", (2, 32, 8, 8), (48, 32, 3, 3), 2, 1), (2, 48, 4, 4)),
    "linear": (Product("unet", "linear", (2, 5, 32), (48, 32)), (10, 48)),
    "attention": (Product("unet", "attention", (2, 4, 300, 8), (2, 4, 77, 8)), (2, 4, 300, 8)),
}


@pytest.mark.parametrize("compute", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("kind", SHAPES)
def test_bare_calls_make_the_product(kind: str, compute: str) -> None:
    product, shape = SHAPES[kind]
    calls = list(_step_floor.calls_of(product, compute))
    if kind == "attention":  # the whole, and a tile of the queries
        expected = 0 if compute == "int8" else 2
    elif compute == "int8":
        expected = 1
    else:  # with weights as they are, and packed where the processor can
        expected = 2 if _step_floor.packs(_step_floor.DENSE[compute]) else 1
    assert len(calls) == expected
    for call, times in calls:
        made = call()
        if kind == "attention" and times != 1:  # a tile of the queries, heads flattened
            assert times == pytest.approx(300 / 256)
            assert tuple(made.shape) == (8, 256, 8)
        else:
            assert tuple(made.shape) == shape


def test_the_floor_takes_the_fastest_allowed_type() -> None:
    """And of each type the fastest round."""
    linear = {"part": "unet", "kind": "linear", "count": 2, "flops": 12}
    attention = {"part": "unet", "kind": "attention", "count": 1, "flops": 35}
    fast = [
        linear | {"rates": {"fp32": 4.0, "bf16": 6.0, "int8": 12.0}},
        attention | {"rates": {"fp32": 3.5, "bf16": 5.0}},
    ]
    slow = [
        linear | {"rates": {"fp32": 3.0, "bf16": 3.0, "int8": 3.0}},
        attention | {"rates": {"fp32": 7.0, "bf16": 1.0}},
    ]
    floors = [{"products": fast}, {"products": slow}]
    assert floor_of(floors, "fp32") == {"unet linear": 6.0, "unet attention": 5.0}
    assert floor_of(floors, "bf16") == {"unet linear": 4.0, "unet attention": 5.0}
    assert floor_of(floors, "int8") == {"unet linear": 2.0, "unet attention": 5.0}


# --- seconds, ratios, goals -----------------------------------------------------------------------


def test_the_first_step_and_calibration_are_no_part_of_a_step() -> None:
    events = [
        {"event": "calibrated", "seconds": 4.0},
        {"event": "start"},
        {"event": "step", "seconds": 10.0},
        {"event": "step", "seconds": 12.0},
        {
            "event": "calibrated",
            "seconds": 5.0,
            "integer_share": 0.75,
            "layers": 4,
            "sensitive": {"conv_in": 0.5},
        },
        {"event": "step", "seconds": 20.0},
        {"event": "end", "seconds": 21.0},
    ]
    assert _step_ours.step_seconds(events) == ([2.0, 3.0], 9.0)
    assert _step_ours.integers(events) == {"integer_share": 0.75, "layers": 4, "sensitive": 1}
    assert _step_ours.integers(events[1:4]) == {}


def test_goals_hold_for_the_median_of_ratios_within_rounds() -> None:
    """The median of ratios is not the ratio of medians, 2 / 10."""
    row = Row("a", "s", (1.0, 2.0, 6.0), (10.0, 4.0, 20.0), "b", target=0.5, stretch=0.25)
    assert row.ratios() == [0.1, 0.5, 0.3]
    assert row.figure() == 0.3
    assert row.verdict() == "met"
    assert Row("a", "GB", (1.0, 3.0, 2.0), target=1.9, stretch=1.0).verdict() == "missed"
    assert Row("a", "GB", (1.0,), target=1.9, stretch=1.0).verdict() == "stretch"
    assert Row("a", "GB", (1.0,)).verdict() == ""


def answer(step: float, load: float = 30.0) -> dict:
    """A worker's answer whose steps have the median `step`."""
    steps = [2 * step, step, 0.5 * step]
    split = [{"vae": 0.25 * one, "unet": 0.75 * one} for one in steps]
    return {
        "steps": steps,
        "split": split,
        "load": load,
        "calibration": 0.0,
        "loading_peak": 1.2e9,
        "training_peak": 1.5e9,
        "estimate": 1.4e9,
        "compute": "bf16",
        "compute_choice": "",
    }


def test_the_report_has_every_row_of_what_was_run(tmp_path) -> None:
    answers = {
        job.name: [answer(4.0, 8.0) if job.side == "ours" else answer(10.0)]
        for job in jobs_of(list(ROWS))
    }
    decided = {"calibration": 30.0, "integer_share": 0.957, "layers": 240, "sensitive": 9}
    answers["ours train int8 int8"][0] |= decided
    answers["ours train int8 auto"][0] |= {"compute_choice": "compute auto takes bf16: quick"}
    answers["reference train bf16"] = [answer(8.0)]
    product = {"part": "unet", "kind": "linear", "count": 1, "flops": 7.0, "rates": {"fp32": 2.0}}
    floors = [{"computes": ["fp32", "bf16", "int8"], "products": [product]}]
    rows = {(row.name, row.other): row for row in all_rows(answers, floors)}
    assert rows["INT8 weights, fp32 activations", "fp32 reference"].figure() == 0.4
    fastest = rows["INT8 weights, bf16 products, the fastest step", "arithmetic floor"]
    assert fastest.figure() == 2 / 3.5
    assert rows["peak memory, INT8 weights and activations", ""].figure() == 1.5
    assert rows[
        "weights ready, INT8 weights, bf16 products", "bf16 reference's load"
    ].verdict() == ("met")
    without = rows["exact gradient, INT8, bf16 products", "fp32 textual inversion less its VAE"]
    assert without.against == (7.5,)
    results = {"command": "step", "shape": "sd15", "rounds": 1, "answers": answers}
    results |= {"machine": {"cores": 2, "instruction sets": ["avx2", "avx512f"]}}
    results |= {"setup": vars(Setup(512)), "floors": floors}
    text = report(results | {"paths": {"packed": 2.0, "dequantised": 1.0}}, tmp_path)
    assert rows["default (bf16)", "bf16 reference, the faster"].figure() == 0.5
    assert rows["INT4 UNet, fp32 products", "INT8"].verdict() == "met"
    assert rows["exact gradient, INT8, bf16 products", "an estimate's"].figure() == 1
    assert "ours train int8 auto: compute auto takes bf16: quick." in text
    assert "the reference takes dequantised" in text
    assert "8 [16.4]" in text
    assert "reference train bf16 takes 51 % less" in text
    assert "| ours train int8 bf16 | 1.5 | 1.4 |" in text
    assert "| 4 (2 to 8) s a step | 6 (bf16 reference less its VAE) | 0.667 |" in text
    assert "30 s. 95.7 % of" in text and "9 of 240 layers" in text
    assert all(f"| {name} |" in text for name, _ in rows)
    assert json.loads((tmp_path / "results.json").read_text())["answers"] == answers


def test_the_default_can_be_held_against_one_type_of_the_reference() -> None:
    """Where the other one is out of the question, as bfloat16 is without instructions for it."""
    jobs = jobs_of(["default"], ("fp32",))
    assert [job.name for job in jobs] == ["ours train int8 auto", "reference train fp32"]
    both = [job.name for job in jobs_of(["default", "bf16"], ("fp32",))]
    assert "reference train bf16" in both  # which another row is held against
    answers = {job.name: [answer(3.0 if job.side == "ours" else 10.0)] for job in jobs}
    row = all_rows(answers, [])[0]
    assert (row.name, row.other) == ("default (bf16)", "fp32 reference")
    assert (row.figure(), row.verdict()) == (0.3, "stretch")


def test_the_default_has_another_goal_where_the_processor_has_avx2_alone() -> None:
    answers = {
        "ours train int8 auto": [answer(3.0)],
        "reference train fp32": [answer(10.0)],
    }
    rows = {
        sets: all_rows(answers, [{"computes": ["fp32"], "products": []}], sets)[0]
        for sets in (("avx2",), ("avx2", "avx512f"))
    }
    assert {sets: row.target for sets, row in rows.items()} == {
        ("avx2",): 0.40,
        ("avx2", "avx512f"): 0.20,
    }


def test_scaling_goes_along_one_axis_at_a_time() -> None:
    setup, job = Setup(512, n=2, threads=2), Job("ours", "train")
    points = points_of([job], FULL, setup)
    assert len(points) == 4 + 3 + 2 - 2  # the setup itself lies on all three
    found = [point.told({"steps": [float(point.setup.n)] * 2}) for point in points]
    assert along(found, job.name, "n", setup) == [(1, 1.0), (2, 2.0), (4, 4.0), (8, 8.0)]
    assert [value for value, _ in along(found, job.name, "resolution", setup)] == [256, 512, 768]


# --- profile --------------------------------------------------------------------------------------


def test_flops_of_calls_that_the_profiler_saw() -> None:
    """Against the profiler's own count, which goes by the outer names."""
    x, weight = torch.randn(2, 32, 16, 16), torch.randn(48, 32, 3, 3)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds, record_shapes=True, with_flops=True) as found:
        torch.conv2d(x.contiguous(memory_format=torch.channels_last), weight, None, 2, 1)
        torch.addmm(torch.randn(7), torch.randn(5, 6), torch.randn(6, 7))
    events = found.events()
    expected = {event.name: event.flops for event in events if event.flops}
    lines = _step_profile.group(events, layers=False)
    mine = sorted(
        _step_profile.flops_of(event.name, event.input_shapes, event.concrete_inputs)
        for event in events
    )
    assert mine[-2:] == sorted([expected["aten::addmm"], expected["aten::conv2d"]])
    whole = sum(event.self_cpu_time_total for event in events) / 1e6
    assert sum(line.seconds for line in lines) == pytest.approx(whole)
    q, k = [3, 8, 64, 4], [3, 8, 77, 4]
    assert _step_profile.flops_of("zoodip::attention", [q, k, k], []) == 4 * 3 * 8 * 64 * 4 * 77
    picture, linear = [[3, 1280, 16, 8], [320, 1280]], "zoodip::linear"
    assert _step_profile.flops_of(linear, picture, []) == 2 * 3 * 16 * 8 * 1280 * 320
    assert (
        _step_profile.flops_of(linear, [[3, 77, 1280], [320, 1280]], []) == 2 * 3 * 77 * 1280 * 320
    )


# --- the workers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small products are slow on two threads where another program keeps one of them waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "tiny"
    write_diffusers_folder(path, "tiny", dtype=torch.float16)
    return path


def test_our_step_is_watched_from_outside(model, images) -> None:
    common = {"checkpoint": str(model), "images": str(images)}
    common |= {"resolution": 64, "n": 2, "threads": 1}
    found = ask("_step_ours.train", **common, steps=2, compute="fp32", method="rge")
    assert len(found["steps"]) == 2
    assert min(*found["steps"], found["load"], found["encode"]) > 0
    assert 50e6 < found["training_peak"] < 1e9
    assert 50e6 < found["loading_peak"] < 1e9
    with pytest.raises(WorkerError, match="compute"):
        ask("_step_ours.train", **common, steps=1, compute="fp64")


def test_the_reference_moves_the_word(folder) -> None:
    """And both of quanto's linear paths multiply by the same weights: rounding in bf16 apart."""
    parts = _step_reference.load(folder, torch.bfloat16)
    for part in (parts.text_encoder, parts.vae, parts.unet):
        _step_reference.quantise(part)
    pixels = _step_reference.random_pixels(64, torch.bfloat16)
    table = parts.text_encoder.get_input_embeddings().weight
    before = table.clone()
    with _step_reference.linear_path("packed"):
        found = _step_reference.run_steps(parts, pixels, n=2, steps=1)
    assert len(found["steps"]) == 1 and set(found["split"][0]) == {"vae", "text", "unet"}
    moved = (table != before).any(1).nonzero()[:, 0].tolist()
    assert moved == [_step_reference.WORD]
    states = []
    for path in ("packed", "dequantised"):
        with _step_reference.linear_path(path), torch.no_grad():
            states.append(parts.text_encoder(torch.tensor([_step_reference.TOKENS]))[0].float())
    error = (states[0] - states[1]).norm() / states[1].norm()
    assert 0 < error < 0.05


def test_the_trained_row_has_the_gradient_of_the_table_s_row(folder) -> None:
    parts = _step_gradient.load_to_train(folder)
    table = parts.text_encoder.get_input_embeddings()
    ids = torch.tensor([_step_reference.TOKENS])
    table.weight.requires_grad_(True)
    parts.text_encoder(ids)[0].square().sum().backward()
    expected = table.weight.grad[_step_reference.WORD].clone()
    table.weight.requires_grad_(False)
    row = _step_gradient.trained_row(parts)
    parts.text_encoder(ids)[0].square().sum().backward()
    assert expected.norm() > 0
    assert torch.allclose(row.grad, expected, rtol=1e-4)


def test_a_step_of_textual_inversion_checkpoints_the_unet(folder) -> None:
    parts = _step_gradient.load_to_train(folder)
    row = _step_gradient.trained_row(parts)
    before = row.detach().clone()
    calls = []
    convolution = parts.unet.up_blocks[0].resnets[0].conv1
    convolution.register_forward_hook(lambda *_: calls.append(1))
    optimiser, clock = torch.optim.AdamW([row], lr=1e-3), _step_reference.Clock()
    pixels = _step_reference.random_pixels(64, torch.float32)
    _step_gradient.gradient_step(parts, pixels, optimiser, clock)
    assert len(calls) == 2  # forward, and again on the way back
    assert set(clock.seconds) == {"vae", "forward", "backward"}
    assert not torch.equal(row, before)


def test_products_of_a_small_step_are_counted_for_every_point() -> None:
    counts = step_products("tiny", n=3, resolution=64)
    rows = {product.x[0] for product in counts}
    assert rows == {1, 4}
