#!/usr/bin/env python3
"""Build zoodip for a Python environment, or set everything up and run its tests.

  python install.py               build for the Python that runs this, with the torch it has
  python install.py --venv        make .venv in this folder with a torch of its own, build for that
  python install.py test          set everything up in .venv and run every test
  python install.py test -k NAME  the same; what follows `test` is handed to pytest
  python install.py test --torch 2.15.0
                                  the same with another torch, in an environment of its own

Nothing outside this folder is changed, with one exception: `test`, run as root on Debian or
Ubuntu, installs the system packages it lacks after naming them. pip is called as it is
configured: its index, proxy, cache and PIP_* variables hold.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  (said here, before anything newer is read)
    sys.exit(f"install.py: zoodip needs Python 3.10 or newer; this is {sys.version.split()[0]}")

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "native"), str(ROOT / "native" / "python")]

from setup import system, venv  # noqa: E402
from setup.build import build, tree_of  # noqa: E402
from setup.process import Failure, say  # noqa: E402
from setup.run_tests import run_tests  # noqa: E402
from zoodip import __version__  # noqa: E402
from zoodip._environment import Environment, describe  # noqa: E402

LOGS = ROOT / "build"
OLDEST_PYTHON_FOR_TESTS = (3, 11)  # numpy's and scikit-learn's pinned versions ask for it


def finish(environment: Environment, program: Path) -> None:
    say(f"zoodip {__version__} is built for Python {environment.python}, torch {environment.torch}")
    say(f"  the program: {program}")
    if sys.platform != "linux":
        say("  note: zoodip is tested on Linux; nothing has been run on this system so far")


def build_here() -> None:
    """For the interpreter that runs this; its torch is used as it is and never replaced."""
    environment = describe()
    if not environment.torch:
        python = shlex.quote(sys.executable)
        raise Failure(
            f"{sys.executable} has no torch: run this with the Python that runs ComfyUI, or "
            f"`{python} {shlex.quote(__file__)} --venv` for an environment of its own"
        )
    system.require_tools(environment.python_executable, environment.python_include)
    folder = build(environment, ROOT, development=False)
    finish(environment, folder / ("zoodip.exe" if os.name == "nt" else "zoodip"))


def announce(folder: Path) -> None:
    say(
        f"Setting up {folder.name}. With torch's CUDA build, which is what PyPI has for Linux,\n"
        "this downloads 2.9 GB and takes 5.5 GB on disk (8.4 GB with pip's cache): some 2 minutes\n"
        "on a fast line. pip's own settings can choose another build: an index with a CPU-only\n"
        "torch, given as PIP_EXTRA_INDEX_URL, makes it 0.2 GB. Compiling then\n"
        "takes 5 to 10 minutes on two cores."
    )


def connect(folder: Path, development: bool) -> Environment:
    """Builds for a virtual environment and makes the package and the program known to it."""
    environment = venv.describe_interpreter(venv.python_of(folder), ROOT)
    modules = build(environment, ROOT, development)
    venv.link_package(environment, ROOT)
    finish(environment, venv.link_program(folder, modules))
    return environment


def build_in_venv() -> None:
    """An environment of the checkout's own, with the pinned torch and nothing else."""
    folder = ROOT / ".venv"
    host = describe()
    system.require_tools(host.python_executable, host.python_include)
    pin = next(pin for pin in venv.read_requirements(ROOT) if pin.startswith("torch=="))
    if not venv.python_of(folder).exists():
        announce(folder)
    venv.create(folder, LOGS / "venv.log")
    present = venv.describe_interpreter(venv.python_of(folder), ROOT).torch.split("+")[0]
    if f"torch=={present}" != pin:
        venv.install(folder, [pin], LOGS / "pip.log")
    connect(folder, development=False)


def test(torch: str | None, pytest_arguments: list[str]) -> None:
    """All the set-up that is needed, then every test."""
    if sys.version_info < OLDEST_PYTHON_FOR_TESTS:
        raise Failure("the tests' packages need Python 3.11 or newer; run this with such a Python")
    folder = ROOT / (f".venv-torch{torch}" if torch else ".venv")
    pins = venv.read_requirements(ROOT, torch)
    host = describe()
    ready = venv.has_packages(folder, pins)
    if not ready:
        announce(folder)
    system.prepare_for_tests(host.python_executable, host.python_include, LOGS / "apt.log")
    venv.create(folder, LOGS / "venv.log")
    if not ready:
        venv.install(folder, pins, LOGS / "pip.log")
        venv.record_packages(folder, pins)
    environment = connect(folder, development=True)
    run_tests(tree_of(environment, ROOT, development=True), environment, pytest_arguments)


def run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="install.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="python install.py [--venv] | test [--torch VERSION] [pytest arguments]",
        allow_abbrev=False,
    )
    parser.add_argument("--venv", action="store_true", help="make .venv and build for it")
    commands = parser.add_subparsers(dest="command", metavar="test")
    tests = commands.add_parser("test", help="set everything up and test", allow_abbrev=False)
    tests.add_argument("--torch", metavar="VERSION", help="test with this torch instead")
    options, rest = parser.parse_known_args(arguments)
    if options.command == "test" and not options.venv:
        test(options.torch, rest)
    elif rest or options.command:
        parser.error(f"unexpected: {' '.join(rest) or '--venv with test'}")
    elif options.venv:
        build_in_venv()
    else:
        build_here()


def main() -> int:
    if sys.flags.no_user_site:  # `python -s`, as ComfyUI's portable builds call it
        os.environ["PYTHONNOUSERSITE"] = "1"
    os.chdir(ROOT)
    try:
        run(sys.argv[1:])
    except Failure as failure:
        print(f"install.py: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("install.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"install.py: {error}; mend that and run this again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
