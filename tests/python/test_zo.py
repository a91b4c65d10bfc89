"""Estimates and the subspace against torch's gradients and scikit-learn's decomposition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from zoodip import _native

FLOAT = 2.0**-24  # rounding to float32 is off by this much, relative
DOUBLE = 2.0**-53


def walk(tau: int, d: int, seed: int) -> torch.Tensor:
    """Words that move a little more in some features than in others."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(tau, d, generator=generator) * torch.logspace(-3, 0, d)
    return torch.randn(d, generator=generator) + steps.cumsum(0)


def with_gaps(tau: int, d: int, seed: int) -> torch.Tensor:
    """Few strong directions and many weak ones, each a quarter of the one before."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(tau, tau, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(d, tau, generator=generator, dtype=torch.float64))[0]
    return ((left * 4.0 ** -torch.arange(tau)) @ right.T).float()


def decompose(words: torch.Tensor, nu: float) -> tuple[np.ndarray, PCA, int]:
    """The standardised words, their PCA, and i*, the directions that stay."""
    standardised = StandardScaler().fit_transform(words.double().numpy())
    pca = PCA(svd_solver="full").fit(standardised)
    kept = int(np.argmax(np.cumsum(pca.explained_variance_ratio_) > 1 - nu)) + 1
    return standardised, pca, kept


def recorded(words: torch.Tensor, nu: float) -> _native.Subspace:
    subspace = _native.Subspace(len(words), nu, words.shape[1])
    for word in words:
        subspace.record(word)
    return subspace


CASES = [
    pytest.param(words, nu, id=f"{name}-{words.shape[0]}x{words.shape[1]}-{nu}")
    for name, words, nu in [
        ("gaps", with_gaps(8, 64, 0), 1e-2),
        ("gaps", with_gaps(12, 100, 1), 1e-3),
        ("walk", walk(8, 64, 2), 0.1),
        ("walk", walk(16, 96, 3), 1e-2),
        ("walk", walk(33, 200, 4), 1e-2),
        ("walk", walk(128, 768, 5), 1e-3),
        ("walk", walk(128, 768, 6), 1e-1),
    ]
]


@pytest.mark.parametrize(("words", "nu"), CASES)
def test_subspace_is_what_pca_leaves_out(words: torch.Tensor, nu: float) -> None:
    tau, d = words.shape
    standardised, pca, kept = decompose(words, nu)
    rank = tau - 1  # the words are centred
    _, p = recorded(words, nu).state()
    assert 1 <= p.shape[0] == rank - kept, "i* is that of explained_variance_ratio_"

    # Both sides decompose a matrix that is off by at most `error` in norm: rounding in
    # standardising (8 operations, the mean's error being that of the words' size) and in the
    # decomposition (d tau rounding errors of the largest singular value). Wedin: the removed space
    # turns by at most error / gap, where the gap separates it from what stays and from the null
    # space, which neither side counts. A projector is off by twice the sine on either side.
    values = pca.singular_values_
    words_size = np.abs(words.numpy()) / words.double().std(0, unbiased=False).numpy()
    error = 8 * DOUBLE * float(np.linalg.norm(words_size)) + max(d, tau) * DOUBLE * values[0]
    gap = min(values[kept - 1] - values[kept], values[rank - 1])
    turned = 2 * 2 * error / gap
    # Float32 rows: an entry of P^T P is a sum of products of entries that were rounded once each.
    bound = 2.01 * FLOAT + turned
    assert bound < 1e-6, "the spectrum has a gap"

    removed = pca.components_[kept:rank]
    ours = p.double().numpy()
    assert np.abs(ours.T @ ours - removed.T @ removed).max() <= bound
    # The same statement without a projector: along P the words hardly move.
    share = np.linalg.norm(standardised @ ours.T) ** 2 / np.linalg.norm(standardised) ** 2
    assert share < nu + 3 * FLOAT


@pytest.mark.parametrize(("words", "nu"), CASES)
def test_projection_is_that_of_pca(words: torch.Tensor, nu: float) -> None:
    subspace = recorded(words, nu)
    _, pca, kept = decompose(words, nu)
    g = torch.randn(words.shape[1], generator=torch.Generator().manual_seed(9))
    removed = pca.components_[kept : len(words) - 1]
    expected = g.double().numpy() @ (np.eye(len(g)) - removed.T @ removed)
    # The rows of P are rounded: |P^T P - exact| <= 2 u sqrt(rows) in norm, and g' is rounded once.
    bound = (2 * math.sqrt(subspace.removed) + 1) * FLOAT * float(g.norm()) * 1.01
    assert np.linalg.norm(subspace.project(g).double().numpy() - expected) <= bound


def test_features_that_do_not_move_are_left_alone() -> None:
    words = walk(16, 96, 3)
    words[:, 10:30] = 0.7
    _, pca, kept = decompose(words, 1e-2)
    subspace = recorded(words, 1e-2)
    _, p = subspace.state()
    assert p.shape[0] == 15 - kept >= 1
    # Nothing but the rounding of the decomposition, far below that of g'.
    noise = 96 * DOUBLE * pca.singular_values_[0] / pca.singular_values_[14]
    assert p[:, 10:30].abs().max() <= noise < FLOAT**1.5
    g = torch.randn(96, generator=torch.Generator().manual_seed(1))
    assert torch.equal(subspace.project(g)[10:30], g[10:30])


@pytest.mark.parametrize("n", [1, 2, 8])
def test_estimates_have_the_gradient_of_autograd_as_their_mean(n: int) -> None:
    """Var g_j = (|q|^2 + q_j^2 + mu^2 / 4 E (e'Ae)^2 e_j^2) / n, by Isserlis' theorem."""
    d, mu, repeats = 6, 1e-2, 4000
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(d, d, generator=generator, dtype=torch.float64)
    linear = torch.randn(d, generator=generator, dtype=torch.float64)
    a = root @ root.T

    def loss(x: torch.Tensor) -> torch.Tensor:
        return x @ linear + ((x @ a) * x).sum(-1) / 2

    theta = torch.randn(d, generator=generator).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(theta.double()), theta)
    estimator = _native.Estimator("rge", mu)
    assert estimator.passes(n) == n + 1
    total = torch.zeros(d, dtype=torch.float64)
    for step in range(repeats):
        directions = _native.draw_directions(n, d, 1, step)
        points = estimator.points(theta, directions)
        assert not points.requires_grad
        total += estimator.estimate(loss(points.double()), directions).double()
    q, trace, square = gradient.double(), a.trace(), a @ a
    curvature = trace**2 + 2 * square.trace() + 4 * trace * a.diagonal() + 8 * square.diagonal()
    variance = (q @ q + q * q + mu**2 / 4 * curvature) / n
    # Six deviations of the mean, and the points' rounding: 2 u |p| in each number, times the slope
    # there (|e| stays below 10), over mu; E|e_j| < 1.
    slope = q.abs().sum() + 10 * mu * a.abs().sum()
    rounding = 2 * FLOAT * (theta.detach().abs().max() + 10 * mu) * slope / mu
    bound = 6 * (variance / repeats).sqrt() + rounding
    assert ((total / repeats - q).abs() <= bound).all()


def vocabulary(rows: int, width: int, seed: int) -> torch.Tensor:
    """Words far from the origin that spread less and less: each direction .8 of the one before."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
    spread = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return (3 + spread * 0.8 ** torch.arange(width) @ turn).float()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("rows", "width", "rank"), [(60, 24, 5), (9000, 48, 12), (20, 64, 19)])
def test_principal_directions_are_those_of_pca(
    rows: int, width: int, rank: int, half: bool
) -> None:
    """Rows of zeros, which were never trained, are no words; 9000 rows are more than one part."""
    words = vocabulary(rows, width, 5)
    words = words.half() if half else words  # as checkpoints hold them
    pca = PCA(svd_solver="full").fit(words.double().numpy())
    with_zeros = torch.cat([torch.zeros(7, width), words[:3], torch.zeros(5, width), words[3:]])
    found = _native.principal_directions(with_zeros.to(words.dtype), rank)
    assert found.shape == (rank, width) and found.dtype == torch.float32
    ours, theirs = found.double().numpy(), pca.components_[:rank]
    # Davis and Kahan: a direction turns by at most the covariance's error over the distance of its
    # eigenvalue from the next. Second moments in float64 are sums of `rows` products near 16.
    values = np.append(pca.explained_variance_, 0.0)
    scale = (rows - 1) / rows  # the covariance's, against that of explained_variance_
    distance = np.minimum(values[:-1] - values[1:], np.append(np.inf, -np.diff(values[:-1])))
    error = 4 * rows * DOUBLE * width * 16
    turned = error / (scale * distance[:rank])
    assert turned.max() < 1e-4, "the spectrum has gaps"
    apart = np.minimum(abs(ours - theirs).max(1), abs(ours + theirs).max(1))  # up to the sign
    assert (apart <= FLOAT + 2 * turned).all()


def test_a_span_is_that_of_its_words() -> None:
    generator = torch.Generator().manual_seed(3)
    words = torch.randn(4, 30, generator=generator)
    q = torch.linalg.qr(words.double().T)[0]
    u = _native.span_basis(torch.cat([words, 2 * words[:2]])).double()
    assert u.shape == (4, 30)
    # Rows are rounded once; a projector is off by twice that, over four rows.
    assert (u.T @ u - q @ q.T).abs().max() <= 2 * 4 * FLOAT


def test_adam_is_torchs() -> None:
    """With n = 1 and d - removed = 1 an estimate is not scaled: the recurrence is Adam's.

    With gradients in [1, 2] nothing cancels, and the relative errors of float32 add up: at step t
    those of the moments are 3 t + 4 and 3 t + 5 units, the second's halved by the root, and the
    quotient adds 10 more. A step is below 2 learning rates; theta is rounded in each.
    """
    rate, steps = 5e-3, 50
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0])
    start = torch.tensor([0.5, -0.25, 1.0, 0.0])
    theta, expected = start.clone(), start.double().requires_grad_()
    reference = torch.optim.Adam([expected], lr=rate, betas=(0.9, 0.999), eps=1e-3)
    adam = _native.ZoAdam(4, learning_rate=rate)
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        g = sign * (1 + torch.rand(4, generator=generator))
        expected.grad = g.double()
        reference.step()
        theta = adam.step(theta, g, removed=3, n=1)
    off = sum(2 * rate * (4.5 * t + 17) for t in range(1, steps + 1))
    bound = FLOAT * (off + steps * (1 + 2 * rate * steps)) * 1.01
    assert (theta - expected).abs().max() <= bound < 1e-4 * (theta - start).abs().min()


def test_state_goes_through_python() -> None:
    words, g = walk(20, 96, 7), torch.ones(96)
    first, second = _native.Subspace(8, 0.1, 96), _native.Subspace(8, 0.1, 96)
    for word in words[:11]:
        first.record(word)
    buffer, projection = first.state()
    assert buffer.shape == (3, 96) and projection.shape == (first.removed, 96)
    second.set_state(buffer, projection)
    one, two = _native.ZoAdam(96), _native.ZoAdam(96)
    one.step(words[0], g, first.removed, 2)
    two.set_state(*one.state())
    for word in words[11:]:
        first.record(word)
        second.record(word)
        left = first.project(g)
        assert torch.equal(left, second.project(g))
        assert torch.equal(one.step(word, left, 3, 2), two.step(word, left, 3, 2))


def test_errors_reach_python_by_name() -> None:
    with pytest.raises(_native.Error, match="mu > 0"):
        _native.Estimator("rge", 0)
    with pytest.raises(_native.Error, match="loss 1 of 2 is nan"):
        _native.Estimator("rge", 1e-3).estimate(torch.tensor([1.0, math.nan]), torch.ones(1, 3))
    with pytest.raises(_native.Error, match="tau >= 2"):
        _native.Subspace(1, 0.1, 8)
    with pytest.raises(_native.Error, match="a word"):
        _native.Subspace(2, 0.1, 8).record(torch.ones(7))
    with pytest.raises(_native.Error, match="float32"):
        _native.ZoAdam(3).step(torch.ones(3, dtype=torch.float64), torch.ones(3))


def everything(words: torch.Tensor) -> list[torch.Tensor]:
    """What every function returns for these words, with P empty and with a P."""
    estimator, adam = _native.Estimator("rge", 1e-3), _native.ZoAdam(words.shape[1])
    subspace = _native.Subspace(len(words), 0.1, words.shape[1])
    out = [subspace.project(words[0])]
    for word in words:
        subspace.record(word)
    assert subspace.removed >= 1
    out += [subspace.project(words[0]), *subspace.state()]
    out += [_native.draw_directions(2, 64, 1, 1), estimator.points(words[0], words[1:3])]
    out += [estimator.estimate(words[0, :3], words[1:3])]
    out += [adam.step(words[0], words[1]), *adam.state()[:2]]
    subspace.set_state(words[:3], words[3:4])
    adam.set_state(words[0], words[1] ** 2, 3)
    return [*out, *subspace.state(), *adam.state()[:2], adam.step(words[0], words[1])]


@pytest.mark.parametrize("mode", ["inference", "requires_grad", "grad_of_something"])
def test_the_callers_mode_does_not_leak(mode: str) -> None:
    words = walk(8, 64, 2)
    expected = everything(words)
    if mode == "inference":
        with torch.inference_mode():
            found = everything(words.clone())
            assert torch.is_inference_mode_enabled()
    else:
        leaf = words.clone().requires_grad_()
        found = everything(leaf if mode == "requires_grad" else leaf * 1)
        assert torch.is_grad_enabled()
    for one, two in zip(expected, found, strict=True):
        assert not two.is_inference() and not two.requires_grad
        assert torch.equal(one, two)
