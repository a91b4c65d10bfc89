"""Many listeners and askers are all served; `python tests/api/load.py` says what that costs."""

from __future__ import annotations

import load


def test_many_listeners_and_askers_are_served_while_it_trains(server):
    told = load.run(server, seconds=3)
    assert told.statuses == {200} and len(told.latencies) == 150
    assert told.streams_open == 200
    assert told.steps > 0
    assert told.shares, "no thread of the server has its name"
