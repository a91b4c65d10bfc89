"""What every test's programs are started with."""

from __future__ import annotations

import os
import tempfile

# Which products are quickest differs from machine to machine; test_compute_choice.py takes this
# away where it asks that. What a test leaves in the cache is its own.
os.environ.setdefault("ZOODIP_COMPUTE", "fp32")
if "ZOODIP_CACHE" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="zoodip-cache-")
    os.environ["ZOODIP_CACHE"] = _CACHE.name
