"""What the machine has to offer: compiler, CMake, headers. What is missing is named."""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .process import Failure, capture, run_logged, say, show_end


@dataclass(frozen=True)
class Need:
    """Something the build needs and how Debian and Fedora call its package."""

    what: str
    debian: str
    fedora: str


COMPILER = Need("a C++20 compiler (g++ 11, clang 16 or newer)", "g++", "gcc-c++")
CMAKE = Need("CMake 3.20 or newer", "cmake", "cmake")
NINJA = Need("ninja", "ninja-build", "ninja-build")
PYTHON_HEADERS = Need("Python's headers (Python.h)", "python3-dev", "python3-devel")
VENV = Need("Python's venv module", "python3-venv", "python3")
LIBRARIES = {
    "nlohmann/json.hpp": Need("nlohmann/json", "nlohmann-json3-dev", "json-devel"),
    "CLI/CLI.hpp": Need("CLI11", "libcli11-dev", "cli11-devel"),
    "asio.hpp": Need("Asio", "libasio-dev", "asio-devel"),
    "jpeglib.h": Need("libjpeg", "libjpeg-dev", "libjpeg-turbo-devel"),
    "png.h": Need("libpng", "libpng-dev", "libpng-devel"),
    "webp/decode.h": Need("libwebp", "libwebp-dev", "libwebp-devel"),
    "lcms2.h": Need("Little CMS 2", "liblcms2-dev", "lcms2-devel"),
    "utf8proc.h": Need("utf8proc", "libutf8proc-dev", "utf8proc-devel"),
}
TEST_LIBRARIES = {"gtest/gtest.h": Need("GoogleTest", "libgtest-dev", "gtest-devel")}
# What is built without one of them does not read pictures of its kind, and says so.
PICTURE_LIBRARIES = {
    "libheif/heif.h": Need("HEIC and AVIF", "libheif-dev", "libheif-devel"),
    "gif_lib.h": Need("GIF", "libgif-dev", "giflib-devel"),
    "stb/stb_image.h": Need("BMP", "libstb-dev", "stb_image-devel"),
}
# Nothing is missing without jemalloc.
USEFUL_LIBRARIES = {
    "jemalloc/jemalloc.h": Need("jemalloc", "libjemalloc-dev", "jemalloc-devel"),
    **PICTURE_LIBRARIES,
}


def compiler_is_new_enough(path: str) -> bool:
    macros = dict(
        re.findall(r"#define (\S+) (\S+)", capture([path, "-dM", "-E", "-x", "c++", os.devnull]))
    )
    if "__clang_major__" in macros:
        oldest = 15 if "__apple_build_version__" in macros else 16  # Apple counts differently
        return int(macros["__clang_major__"]) >= oldest
    return int(macros.get("__GNUC__", 0)) >= 11


def find_compiler() -> str | None:
    """The first C++ compiler on PATH that is new enough."""
    names = ["c++", "g++", *(f"g++-{n}" for n in range(20, 10, -1))]
    names += ["clang++", *(f"clang++-{n}" for n in range(25, 15, -1))]
    found = filter(None, map(shutil.which, names))
    return next((path for path in found if compiler_is_new_enough(path)), None)


def find_tool(name: str, python: str) -> str | None:
    """A program on PATH, or one that pip put beside this interpreter or the given one."""
    places = (None, sysconfig.get_path("scripts"), str(Path(python).parent))
    return next(filter(None, (shutil.which(name, path=place) for place in places)), None)


def find_cmake(python: str) -> str | None:
    path = find_tool("cmake", python)
    version = re.search(r"version (\d+)\.(\d+)", capture([path, "--version"])) if path else None
    return path if version and (int(version[1]), int(version[2])) >= (3, 20) else None


def missing_tools(python: str, python_include: str) -> list[Need]:
    """What nothing can be built without. Windows' compilers are left to CMake to find."""
    missing = []
    if os.name != "nt" and "CXX" not in os.environ and not find_compiler():
        missing.append(COMPILER)
    if not find_cmake(python):
        missing.append(CMAKE)
    if os.name != "nt" and not (find_tool("ninja", python) or shutil.which("make")):
        missing.append(NINJA)
    if not (Path(python_include) / "Python.h").is_file():
        missing.append(PYTHON_HEADERS)
    return missing


def missing_libraries(headers: dict[str, Need]) -> list[Need]:
    """Libraries whose headers lie in none of the usual places. CMake knows more of them, and has
    the last word: this list only makes the command that names missing packages complete."""
    places = ["/usr", "/usr/local", "/opt/homebrew", os.environ.get("CONDA_PREFIX", "")]
    places += os.environ.get("CMAKE_PREFIX_PATH", "").replace(";", os.pathsep).split(os.pathsep)
    folders = [Path(place) / "include" for place in places if place]
    folders += [each for folder in folders for each in folder.glob("*-linux-gnu*")]  # Debian's
    return [
        need for header, need in headers.items() if not any((f / header).exists() for f in folders)
    ]


def install_command(needs: Iterable[Need]) -> str:
    """The command, or the words, that get what is missing."""
    needs = list(needs)
    prefix = "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "sudo "
    if shutil.which("apt-get"):
        return f"{prefix}apt-get install {' '.join(need.debian for need in needs)}"
    if shutil.which("dnf"):
        return f"{prefix}dnf install {' '.join(need.fedora for need in needs)}"
    return "install " + ", ".join(need.what for need in needs)


def missing_message(needs: list[Need]) -> str:
    missing = ", ".join(need.what for need in needs)
    return f"missing: {missing}; run: {install_command(needs)} - then run this again"


def unread_pictures() -> str | None:
    """The kinds of pictures that are not read here, and what to do about it."""
    needs = missing_libraries(PICTURE_LIBRARIES)
    if not needs:
        return None
    kinds = ", ".join(need.what for need in needs)
    return f"pictures of these kinds are not read: {kinds}; to read them, {install_command(needs)}"


def require_tools(python: str, python_include: str) -> None:
    """Failure that names all that is missing, where something indispensable is."""
    tools = missing_tools(python, python_include)
    if tools:
        raise Failure(missing_message(tools + missing_libraries(LIBRARIES)))


def install_packages(needs: list[Need], log: Path) -> None:
    """Installs Debian packages as root, after saying so."""
    packages = [need.debian for need in needs]
    say(f"Installing Debian packages (100 MB to download for a bare system): {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_logged(["apt-get", "update"], log, environment=environment)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if run_logged(command, log, environment=environment) != 0:
        show_end(log)
        raise Failure(f"apt-get failed, see {log}; run: {install_command(needs)}")


def prepare_system(python: str, python_include: str, log: Path) -> None:
    """Gets all that demo and tests need from Debian where this runs as root; names it otherwise."""
    libraries = missing_libraries({**LIBRARIES, **TEST_LIBRARIES, **USEFUL_LIBRARIES})
    tools = missing_tools(python, python_include)
    can_install = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get")
    if can_install:
        wanted = tools + libraries
        if wanted:
            install_packages(wanted, log)
        tools = missing_tools(python, python_include)
    if tools:
        raise Failure(missing_message(tools + libraries))
    if libraries and not can_install:  # CMake has the last word, but only after the download
        say(f"note: CMake may miss libraries; this gets them: {install_command(libraries)}")
