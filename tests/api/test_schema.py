"""A few hundred requests from the description; `python tests/api/schema.py` makes more of them."""

from __future__ import annotations

import pytest

pytest.importorskip("schemathesis", reason="`python install.py test` installs it")


def test_the_server_does_what_its_description_says(server):
    import schema

    report = schema.run(server, cases=300, seed=1, examples=5)
    assert not report.failures and not report.errors, str(report)
    assert report.cases >= 300
