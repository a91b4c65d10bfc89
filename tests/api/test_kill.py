"""A few kills; `python tests/api/kill.py` makes more of them."""

from __future__ import annotations

import kill


def test_a_server_that_is_killed_keeps_what_it_promised(material, tmp_path):
    told = kill.run(material, tmp_path, times=4, seed=1)
    assert told.startswith("4 kills: ")
