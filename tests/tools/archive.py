"""The registry's archive of this checkout: what git knows, less what .comfyignore names."""

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def _listed(*options: str) -> set[str]:
    command = ["git", "ls-files", "-z", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    # A file that was deleted and not yet committed is still in git's list.
    return {name for name in done.stdout.split("\0") if name and (REPOSITORY / name).exists()}


def is_checkout() -> bool:
    """Whether git can say which files are ours; it cannot in a copy without its folder."""
    return (REPOSITORY / ".git").exists() and shutil.which("git") is not None


def tracked() -> set[str]:
    """All files of the checkout, those not yet committed too."""
    return _listed("--cached", "--others", "--exclude-standard")


def left_out() -> set[str]:
    """Those that .comfyignore names."""
    exclude = ("--ignored", "--exclude-from=.comfyignore")
    return (_listed("--cached", *exclude) | _listed("--others", *exclude)) & tracked()


def unpack(folder: Path) -> Path:
    """The archive's files in a new folder."""
    for name in sorted(tracked() - left_out()):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, target)
    return folder
