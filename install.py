#!/usr/bin/env python3
"""Build zoodip for a Python environment, or set everything up and run its tests.

  python install.py               build for the Python that runs this, with the torch it has
  python install.py --link        the same, and make `zoodip` and `import zoodip` known to it
  python install.py --venv        make .venv in this folder with a torch of its own, build for that
  python install.py demo          set everything up in .venv, teach the demo model a word, show it
  python install.py demo --model xl --subject NAME --steps N
  python install.py test          set everything up in .venv and run every test
  python install.py test -k NAME  the same with the tests of that name; what follows `test` is
                                  handed to pytest
  python install.py test --torch 2.15.0
                                  the same with another torch, in an environment of its own

Nothing outside this folder is changed, with two exceptions: `--link` puts two small files into the
Python that runs it, zoodip.pth and the program's name; and `demo` and `test`, run as root on
Debian or Ubuntu, install the system packages they lack after naming them. pip is called as it is
configured: its index, proxy, cache and PIP_* variables hold.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  (said here, before anything newer is read)
    sys.exit(f"install.py: zoodip needs Python 3.10 or newer; this is {sys.version.split()[0]}")

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / name) for name in ("native", "native/python", ".")]

from setup import system, venv  # noqa: E402
from setup.build import build, tree_of  # noqa: E402
from setup.process import Failure, say  # noqa: E402
from setup.run_tests import run_tests  # noqa: E402
from zoodip import __version__  # noqa: E402
from zoodip._environment import Environment, describe  # noqa: E402

from demo import model_file  # noqa: E402

LOGS = ROOT / "build"
REPOSITORY = "https://github.com/zoodip/ComfyUI-ZOODiP"
OLDEST_PYTHON_FOR_PINS = (3, 11)  # numpy's pinned version asks for it


def unpack_demo_model(model: str = model_file.FIRST) -> None:
    try:
        model_file.unpack(model)
    except model_file.CannotUnpack as error:
        raise Failure(str(error)) from error


def finish(environment: Environment, program: Path) -> None:
    try:
        for model in model_file.FILES:
            unpack_demo_model(model)
    except (Failure, OSError) as error:  # what was built is good all the same
        say(f"note: a demo model could not be unpacked: {error}")
    say(f"zoodip {__version__} is built for Python {environment.python}, torch {environment.torch}")
    say(f"  the program: {program}")
    if unread := system.unread_pictures():
        say(f"  note: {unread} - then run this again")
    if sys.platform != "linux":
        say("  note: zoodip is tested on Linux; nothing has been run on this system so far")


def build_here(link: bool) -> None:
    """For the interpreter that runs this; its torch is used as it is and never replaced.

    link: make the package and the program known to it.
    """
    environment = describe()
    if not environment.torch:
        python = shlex.quote(sys.executable)
        raise Failure(
            f"{sys.executable} has no torch: run this with the Python that runs ComfyUI, or "
            f"`{python} {shlex.quote(__file__)} --venv` for an environment of its own"
        )
    system.require_tools(environment.python_executable, environment.python_include)
    folder = build(environment, ROOT, development=False)
    if link:
        venv.link_package(environment, ROOT)
        finish(environment, venv.link_program(Path(sysconfig.get_path("scripts")), folder))
    else:
        finish(environment, folder / ("zoodip.exe" if os.name == "nt" else "zoodip"))
        command = f"{shlex.quote(sys.executable)} {shlex.quote(__file__)} --link"
        say(f"  to call it `zoodip`, and to `import zoodip` in this Python: {command}")
    say("  in ComfyUI: restart it; the nodes are under ZOODiP, the templates under ComfyUI-ZOODiP")


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
    finish(environment, venv.link_program(venv.python_of(folder).parent, modules))
    return environment


def build_in_venv() -> None:
    """An environment of the checkout's own, with the pinned torch and nothing else."""
    folder = ROOT / ".venv"
    host = describe()
    system.require_tools(host.python_executable, host.python_include)
    pin = venv.demo_requirements(ROOT)[0]
    if not venv.python_of(folder).exists():
        announce(folder)
    venv.create(folder, LOGS / "venv.log")
    present = venv.describe_interpreter(venv.python_of(folder), ROOT).torch.split("+")[0]
    if f"torch=={present}" != pin:
        venv.install(folder, [pin], LOGS / "pip.log")
    connect(folder, development=False)


def prepare(folder: Path, pins: list[str], development: bool | None) -> Environment:
    """System packages, the environment with these packages, and what is built for it.

    `development` None takes the development build where one was made, so that a demo after the
    tests compiles nothing.
    """
    if sys.version_info < OLDEST_PYTHON_FOR_PINS:
        raise Failure("the pinned packages need Python 3.11 or newer; run this with such a Python")
    host = describe()
    if not venv.has_packages(folder, pins):
        announce(folder)
    system.prepare_system(host.python_executable, host.python_include, LOGS / "apt.log")
    venv.create(folder, LOGS / "venv.log")
    if not venv.has_packages(folder, pins):  # asked again: a broken environment was made anew
        venv.install(folder, pins, LOGS / "pip.log")
        venv.record_packages(folder, pins)
    if development is None:
        environment = venv.describe_interpreter(venv.python_of(folder), ROOT)
        development = tree_of(environment, ROOT, development=True).exists()
    return connect(folder, development)


def test(torch: str | None, pytest_arguments: list[str]) -> None:
    """All the set-up that is needed, then every test."""
    if not (ROOT / "tests").is_dir():
        raise Failure(f"the registry's archive comes without the tests: git clone {REPOSITORY}")
    folder = ROOT / (f".venv-torch{torch}" if torch else ".venv")
    environment = prepare(folder, venv.test_requirements(ROOT, torch), development=True)
    tree = tree_of(environment, ROOT, development=True)
    run_tests(tree, environment, pytest_arguments, ROOT)


def add_demo_options(parser: argparse.ArgumentParser) -> None:
    """Those of demo/show.py, which needs packages that may not be there yet."""
    subjects = sorted(path.name for path in (ROOT / "demo" / "subjects").glob("*"))
    parser.add_argument(
        "--model", choices=model_file.FILES, default=model_file.FIRST, help="default: %(default)s"
    )
    parser.add_argument("--subject", choices=subjects, help="what the word is to mean")
    parser.add_argument("--steps", type=int, metavar="N", help="of training")


def demo(model: str, subject: str | None, steps: int | None) -> None:
    """All the set-up that is needed, then the demo."""
    unpack_demo_model(model)
    environment = prepare(ROOT / ".venv", venv.demo_requirements(ROOT), development=None)
    command = [environment.python_executable, "-m", "demo.show", "--model", model]
    command += ["--subject", subject] if subject else []
    command += ["--steps", str(steps)] if steps else []
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code:
        raise Failure(f"the demo ended with code {code}; what it said stands above")


def run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="install.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="python install.py [--link | --venv] | demo [--model xl] [--subject NAME] "
        "[--steps N] | test [--torch VERSION] [pytest arguments]",
        allow_abbrev=False,
    )
    parser.add_argument("--venv", action="store_true", help="make .venv and build for it")
    parser.add_argument(
        "--link", action="store_true", help="make `zoodip` and `import zoodip` known to this Python"
    )
    commands = parser.add_subparsers(dest="command", metavar="demo | test")
    tests = commands.add_parser("test", help="set everything up and test", allow_abbrev=False)
    tests.add_argument("--torch", metavar="VERSION", help="test with this torch instead")
    add_demo_options(commands.add_parser("demo", help="teach the demo model a word"))
    options, rest = parser.parse_known_args(arguments)
    if options.link and (options.venv or options.command):
        parser.error(
            f"--link is for the Python that runs this, not for {options.command or '.venv'}"
        )
    if options.command == "demo" and not options.venv and not rest:
        if options.steps is not None and options.steps < 1:
            parser.error(f"--steps: needs at least 1, got {options.steps}")
        demo(options.model, options.subject, options.steps)
    elif options.command == "test" and not options.venv:
        test(options.torch, rest)
    elif rest or options.command:
        parser.error(f"unexpected: {' '.join(rest) or f'--venv with {options.command}'}")
    elif options.venv:
        build_in_venv()
    else:
        build_here(options.link)


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
