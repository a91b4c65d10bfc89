"""Runs every check_* function of a module here and prints {name: result} as JSON, where a result is
"" or "skipped: why" or a traceback.

    COMFYUI_DIR=CHECKOUT COMFYUI_PYTHON run.py MODULE

A process of its own, for ComfyUI takes its arguments when it is imported and keeps them.
"""

import importlib
import json
import shutil
import sys
import traceback
import unittest

module_name = sys.argv[1]

import setup  # noqa: E402, I001
import torch  # noqa: E402


def main() -> None:
    module = importlib.import_module(module_name)
    results = {}
    for name in [name for name in vars(module) if name.startswith("check_")]:
        try:
            with torch.inference_mode():  # as nodes run
                getattr(module, name)()
            results[name] = ""
        except unittest.SkipTest as reason:
            results[name] = f"skipped: {reason}"
        except Exception:
            results[name] = traceback.format_exc()
    shutil.rmtree(setup.BASE, ignore_errors=True)
    print(json.dumps(results))


main()
