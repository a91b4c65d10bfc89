"""The English locale files have every text that the extension asks for. Needs no ComfyUI."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {path.name: path.read_text() for path in sorted((ROOT / "web").glob("*.js"))}
STATES = ("preparing", "training", "finished", "stopped", "interrupted", "failed", "reused")


def locale(name: str) -> dict:
    return json.loads((ROOT / "locales" / "en" / f"{name}.json").read_text())


def flat(table: dict, prefix: str = "") -> set[str]:
    keys = set()
    for name, value in table.items():
        keys |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return keys


def used() -> set[str]:
    source = "\n".join(SOURCES.values())
    calls = re.findall(r"\btext\(((?:[^()]|\([^()]*\))*)\)", source)
    keys = {key for call in calls for key in re.findall(r'"([\w.]+)"', call.split(", {")[0])}
    keys |= {f"state.{state}" for state in ("idle", *STATES)}
    for button in ("stop", "cancel"):
        keys |= {f"{button}.{part}" for part in ("label", "tooltip", "asked", "failed")}
    return keys - {"idle"}


def test_every_text_is_in_the_locale_and_every_locale_text_is_used():
    assert used() == flat(locale("main")["zoodip"])


def test_the_locale_names_the_command_and_the_settings():
    ids = [
        name
        for source in ("store.js", "http_api.js")
        for name in re.findall(r'"(ZOODiP\.[\w.]+)"', SOURCES[source])
    ]
    assert len(ids) == 3
    named = set(locale("commands")) | set(locale("settings"))
    assert named == {name.replace(".", "_") for name in ids}
    for table in (locale("commands"), locale("settings")):
        for texts in table.values():
            assert all(texts.values())


def test_no_markup_is_made_from_text_and_nothing_comes_from_outside():
    for name, source in SOURCES.items():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|document\.write", source
        )
        outside = set(re.findall(r"https?://[^\s\"']+", source)) - {"http://www.w3.org/2000/svg"}
        assert outside == set(), name
