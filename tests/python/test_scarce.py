"""Where the system gives less: no memory, no threads, a process that was forked."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zoodip
from program import QUICK, arguments
from safetensors.torch import load_file

from demo.model_file import unpack

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits on memory and fork as Linux has them"
)


@pytest.fixture(scope="module")
def demo_model() -> Path:
    return unpack()


# --------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("megabytes", range(360, 681, 40))
def test_a_program_without_memory_says_so(
    module_folder, demo_model, images, tmp_path, megabytes, threads
):
    """Wherever it ends, from the loading of the first library to the last step."""
    chosen = {"steps": 2, "resolution": 256, "batch": 2, "validate_every": 0, "threads": threads}
    words = arguments(demo_model, images, tmp_path / "sks.safetensors", **chosen)
    limit = f'ulimit -v {megabytes * 1000}; exec "$0" "$@"'
    told = subprocess.run(
        ["/bin/sh", "-c", limit, module_folder / "zoodip", *words], capture_output=True, text=True
    )
    if told.returncode == 0:
        assert (tmp_path / "sks.safetensors").exists()
        return
    assert told.returncode == 1, told.stderr
    assert re.match(r"zoodip: .*(memory|threads|addresses)", told.stderr.splitlines()[-1])
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def in_python(program: str, *words: object, limit: str = "") -> subprocess.CompletedProcess:
    paths = os.pathsep.join(path for path in sys.path if path)
    shell = f'{limit} exec "$0" "$@"'
    return subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": paths},
    )


def test_a_host_without_memory_lives_on(demo_model, images, tmp_path):
    """The limit comes down to what the process has, and a little more, once all is loaded."""
    program = """if True:
        import resource, sys, zoodip
        model, images, out = sys.argv[1:]
        zoodip.settings()
        said = []
        for more in range(4, 200, 24):
            pages = int(open("/proc/self/statm").read().split()[0])
            limit = pages * resource.getpagesize() + (more << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            try:
                zoodip.train(model, images, "sks", "dog", out, steps=1, resolution=256, batch=2,
                             threads=2, validate_every=0, overwrite=True)
                said.append("")
            except zoodip.Error as error:
                said.append(str(error))
            except MemoryError:
                said.append("memory")
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        print("\\n".join(said))
        """
    told = in_python(program, demo_model, images, tmp_path / "sks.safetensors")
    assert told.returncode == 0, told.stderr
    said = told.stdout.splitlines()
    assert re.search("memory|threads", said[0])
    for line in said:
        assert line == "" or re.search("memory|threads", line), line


def test_a_process_that_may_have_no_more_threads_says_so(model, images, tmp_path):
    """A thread needs its stack: without addresses for one it cannot be made."""
    program = """if True:
        import resource, sys, zoodip
        model, images, out = sys.argv[1:]
        zoodip.settings()
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + (40 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            zoodip.train(model, images, "sks", "dog", out, threads=64, resolution=64)
        except zoodip.Error as error:
            print(error)
        """
    told = in_python(program, model, images, tmp_path / "sks.safetensors")
    assert told.returncode == 0, told.stderr
    assert re.match(r"threads: the system gives this process \d+ of the 64 threads", told.stdout)


# --------------------------------------------------------------------------------------------- fork


@pytest.fixture(autouse=True)
def threads_that_were_asked_for():
    """MKL then keeps a number of its own, which a forked process must not go by."""
    torch.set_num_threads(torch.get_num_threads())


def train_in_child(words: dict, result) -> None:
    result.put(zoodip.train(**words).steps)


@pytest.mark.parametrize("before", ["trained", "torch alone"])
@pytest.mark.parametrize("chosen", [{}, {"method": "exact"}, {"threads": 2}], ids=str)
def test_a_forked_child_trains(model, images, tmp_path, before, chosen):
    words = {"model": model, "images": images, "word": "sks", "init": "dog"} | QUICK | chosen
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    if before == "trained":
        zoodip.train(**words, out=first)
    else:
        torch.ones(1 << 20).mul(2).sum()  # in the threads of this process
    context = multiprocessing.get_context("fork")
    result = context.SimpleQueue()
    child = context.Process(target=train_in_child, args=(words | {"out": second}, result))
    child.start()
    child.join(timeout=120)
    if child.is_alive():
        child.kill()
        pytest.fail("the child waits for threads that it does not have")
    assert child.exitcode == 0
    assert result.get() == QUICK["steps"]
    assert load_file(second)["clip_l"].isfinite().all()


def test_what_a_forked_child_reads_does_not_hang(model, images, tmp_path):
    out = tmp_path / "sks.safetensors"
    zoodip.train(model, images, "sks", "dog", out, **QUICK)
    child = os.fork()
    if child == 0:
        zoodip.inspect(model, quant=True)
        zoodip.sample(model, "sks", tokens=out, width=64, height=64, steps=1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
