"""Configuring where libraries come by FetchContent, where one is missing, without CUDA."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from setup.build import generator_options
from setup.system import find_cmake, find_compiler, find_tool
from zoodip._environment import describe

WITHOUT_TORCH = "-DZOODIP_TORCH=OFF"


@pytest.fixture
def cmake() -> str:
    path = find_cmake(sys.executable)
    if path is None or find_compiler() is None:
        pytest.skip("there is no CMake 3.20 or no C++ compiler; `python install.py test` gets them")
    return path


def configure(
    cmake: str, root: Path, tree: Path, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    generator = generator_options(tree, find_tool("ninja", sys.executable))
    return subprocess.run(
        [cmake, "-S", str(root), "-B", str(tree), *generator, *options],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )


def header_sources(folder: Path) -> list[str]:
    """Options that name source folders made of the system's headers, each with a mark in it."""
    options = []
    for name, headers, absent in (
        ("nlohmann_json", "nlohmann", "CMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON"),
        ("CLI11", "CLI", "CMAKE_DISABLE_FIND_PACKAGE_CLI11=ON"),
        ("asio", "asio", "ASIO_INCLUDE="),
    ):
        system = Path("/usr/include") / headers
        if not system.is_dir():
            pytest.skip(f"{system} is not there to make a source folder from")
        shutil.copytree(system, folder / name / "include" / headers)
        (folder / name / "include" / headers / "fetched.h").touch()
        options.append(f"-DFETCHCONTENT_SOURCE_DIR_{name.upper()}={folder / name}")
        options.append(f"-D{absent}")
    return options


def test_header_libraries_come_by_fetchcontent(cmake: str, root: Path, tmp_path: Path) -> None:
    """Compiles a file that needs headers which only the fetched folders have."""
    project, tree = tmp_path / "project", tmp_path / "tree"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(probe CXX)\nset(CMAKE_CXX_STANDARD 20)\n"
        f'include("{root.as_posix()}/native/cmake/Dependencies.cmake")\n'
        "add_library(probe OBJECT probe.cpp)\n"
        "target_link_libraries(probe nlohmann_json::nlohmann_json CLI11::CLI11 asio::asio)\n"
    )
    (project / "probe.cpp").write_text(
        "#include <CLI/CLI.hpp>\n#include <CLI/fetched.h>\n"
        "#include <asio/fetched.h>\n#include <asio/ip/tcp.hpp>\n"
        "#include <nlohmann/fetched.h>\n#include <nlohmann/json.hpp>\n"
    )
    done = configure(cmake, project, tree, *header_sources(tmp_path))
    assert done.returncode == 0, done.stderr
    done = subprocess.run([cmake, "--build", str(tree)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("option", "package"),
    [
        ("-DCMAKE_DISABLE_FIND_PACKAGE_JPEG=ON", "libjpeg-dev"),
        ("-DCMAKE_DISABLE_FIND_PACKAGE_PNG=ON", "libpng-dev"),
        ("-Dlcms2_LIBRARY=", "liblcms2-dev"),
    ],
)
def test_a_missing_library_is_named(
    cmake: str, root: Path, tmp_path: Path, option: str, package: str
) -> None:
    done = configure(cmake, root, tmp_path, WITHOUT_TORCH, option)
    assert done.returncode != 0
    assert f"apt-get install {package}\n" in done.stderr


def test_libraries_of_single_kinds_of_pictures_may_be_missing(root: Path, tmp_path: Path) -> None:
    """What stands for their decoders names the package, and needs none of the headers."""
    compiler = find_compiler()
    if compiler is None or os.name == "nt":
        pytest.skip("there is no compiler that links with gaps")
    program = tmp_path / "probe.cpp"
    program.write_text(
        "#include <cstdio>\n#include <span>\n"
        '#include "core/error.h"\n#include "io/picture_kind.h"\n'
        "int main() {\n"
        '  for (const std::string start : {"GIF89a", "BM", "    ftypheic", "    ftypavif"}) {\n'
        "    const std::string file = start + std::string(40, 0);\n"
        "    const auto bytes = std::as_bytes(std::span(file));\n"
        "    try { zoodip::decoder_of(bytes)(bytes); } catch (const zoodip::Error& error) {\n"
        "      std::puts(error.what());\n    }\n  }\n}\n"
    )
    sources = [root / "native" / "io" / name for name in ("decode_absent.cpp", "picture_kind.cpp")]
    done = subprocess.run(
        [compiler, "-std=c++20", "-I", str(root / "native"), *map(str, sources), str(program)]
        + ["-Wl,--unresolved-symbols=ignore-all", "-o", str(tmp_path / "probe")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = subprocess.run([str(tmp_path / "probe")], capture_output=True, text=True).stdout
    kinds = [("a GIF", "libgif-dev"), ("a BMP picture", "libstb-dev")]
    kinds += [("a HEIC picture", "libheif-dev"), ("an AVIF picture", "libheif-dev")]
    for line, (name, package) in zip(told.splitlines(), kinds, strict=True):
        assert line.startswith(f"is {name}, which this build of zoodip does not read.")
        assert f"install {package} " in line


def test_a_cuda_build_of_torch_needs_no_toolkit(cmake: str, root: Path, tmp_path: Path) -> None:
    here = describe()
    if here.cuda == "none":
        pytest.skip(f"torch {here.torch} is built without CUDA")
    nvcc = shutil.which("nvcc")
    toolkits = [str(path) for path in Path("/usr/local").glob("cuda*")]
    toolkits += [str(Path(nvcc).resolve().parents[1])] if nvcc else []
    path = [p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "nvcc").exists()]
    done = configure(
        cmake,
        root,
        tmp_path,
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-DCMAKE_IGNORE_PREFIX_PATH={';'.join(toolkits)}",
        PATH=os.pathsep.join(path),
        CUDACXX="",
        CUDA_PATH="",
        CUDA_HOME="",
    )
    assert done.returncode == 0, done.stderr
    assert f"torch {here.torch}" in done.stdout
