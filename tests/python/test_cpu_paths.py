"""The products and attention on other processors than this: on every instruction set that oneDNN
and our own kernels can be held to, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from processor import processor_flags
from setup.build import tree_of
from zoodip._environment import describe

# What ONEDNN_MAX_CPU_ISA and ZOODIP_CPU_ISA ask for, and the flag that Linux gives a processor
# that has it. oneDNN itself takes the best that is there and no more.
PATHS = [
    ("AVX512_CORE_AMX", "avx512", "amx_bf16"),
    ("AVX512_CORE_BF16", "avx512", "avx512_bf16"),
    ("AVX512_CORE_VNNI", "avx512", "avx512_vnni"),
    ("AVX512_CORE", "avx512", "avx512bw"),
    ("AVX2_VNNI", "avx_vnni", "avx_vnni"),
    ("AVX2", "avx2", "avx2"),
    ("SSE41", "plain", "sse4_1"),
]
TESTS = [
    "*AttentionCpu*",
    "*RowIdentity*",
    "*FrozenGradient*",
    "*PanelProduct*",
    "*PanelWeight*",
    "*LayerActivation*",
    "*CalibratedLayer*",
]


@pytest.fixture(scope="module")
def program(root: Path) -> Path:
    """The native tests, as `python install.py test` builds them."""
    path = tree_of(describe(), root, development=True) / "tests" / "native" / "test_torch"
    if not path.is_file():
        pytest.skip("the native tests are not built; `python install.py test` builds them")
    return path


@pytest.mark.parametrize(("onednn", "own", "flag"), PATHS, ids=[path[0] for path in PATHS])
def test_the_kernels_pass_their_tests(program: Path, onednn: str, own: str, flag: str) -> None:
    if flag not in processor_flags():
        pytest.skip(f"this processor has no {flag}")
    variables = {"ONEDNN_MAX_CPU_ISA": onednn, "ZOODIP_CPU_ISA": own}
    done = subprocess.run(
        [program, f"--gtest_filter={':'.join(TESTS)}"],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = set(re.findall(r"\[       OK \] (?:\w+/)?(\w+)\.", done.stdout))
    expected = {"AttentionCpu", "RowIdentity", "FrozenGradient", "PanelProduct"}
    assert expected <= passed, done.stdout[-6000:]
