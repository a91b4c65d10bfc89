"""The checkpoint that tests in a ComfyUI write has the names and shapes of diffusers' own."""

import full_size
from make_checkpoint import Modules, to_original
from random_modules import SHAPES, construct


def test_names_and_shapes_are_those_of_the_family():
    modules = Modules(
        **{part: construct(SHAPES["sd15"], part, "meta") for part in SHAPES["sd15"].parts}
    )
    theirs = {name: tuple(tensor.shape) for name, tensor in to_original(modules).items()}
    assert full_size.shapes() == theirs
