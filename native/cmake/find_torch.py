"""Print directory;version;cuda of this interpreter's torch, for CMake, without importing it."""

import importlib.util
import pathlib
import sys

spec = importlib.util.find_spec("torch")
if spec is None or not spec.origin:
    sys.exit("no module named torch")
directory = pathlib.Path(spec.origin).parent
scope: dict = {}
exec((directory / "version.py").read_text(encoding="utf-8"), scope)
if not (directory / "include" / "ATen").is_dir():
    sys.exit(f"{directory} holds no C++ headers (include/ATen)")
print(f"{directory.as_posix()};{scope['__version__']};{scope.get('cuda') or 'none'}")
