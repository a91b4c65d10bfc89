"""Settings: listed and documented as the engine declares them, and refused alike everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import zoodip
from program import QUICK, arguments, refuses

PAGE = Path("web") / "docs" / "settings.md"


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / PAGE).read_text(encoding="utf-8")


def row(page: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`, but for that one."""
    found = re.findall(rf"^\| `{re.escape(first)}` \| (.*) \|$", page, re.MULTILINE)
    assert found, first
    return [cell.strip() for cell in found[-1].split(" | ")]


def test_the_reference_page_is_what_the_engine_generates(run, page) -> None:
    made = run(["settings", "--markdown"])
    assert made.returncode == 0, made.stderr
    assert page == made.stdout, f"write it anew: zoodip settings --markdown > {PAGE}"


def test_json_is_what_python_is_told(run) -> None:
    assert json.loads(run(["settings", "--json"]).stdout) == zoodip.settings()


def test_the_list_has_every_setting_with_its_group(run) -> None:
    text = run(["settings"]).stdout
    flat = re.sub(r"\s+", " ", text)
    for setting in zoodip.settings():
        assert f"\n{setting['group'].capitalize()}\n" in f"\n{text}"
        assert f" {setting['name']} [" in flat
        assert setting["help"] in flat


def test_the_page_has_every_setting_with_default_and_limits(page) -> None:
    for setting in zoodip.settings():
        default, limits, *meaning = row(page.split("\n## Presets")[0], setting["name"])
        if setting["type"] == "string":
            assert default == (setting["default"] or "empty")
        elif setting["type"] == "boolean":
            assert default == json.dumps(setting["default"])
        else:
            assert float(default) == setting["default"]
            low, high = re.search(r"number, (\S+) to ([^\s,]+)", limits).groups()
            assert (float(low), float(high)) == (setting["minimum"], setting["maximum"])
        for choice in setting.get("choices", []):
            assert choice in limits.split(", ")
        told = " | ".join(meaning).replace("\\|", "|")
        assert setting["help"] in told
        assert f"`{setting['equation']}`" in told if "equation" in setting else "`" not in told
        free = "Does not change what is learned." in told
        assert free == (setting.get("decides") is False)


def test_the_page_has_the_papers_presets(page) -> None:
    """Section "Defaults" of the method: SD1.5, SD2.1 and SDXL, behind that for few passes."""
    assert row(page, "steps") == ["300", "30000", "30000", "20000"]
    assert row(page, "mu") == ["0.001", "0.001", "0.01", "0.01"]
    assert row(page, "learning_rate") == ["0", "0.005", "0.01", "0.005"]
    assert row(page, "t_lower") == ["500", "500", "500", "700"]
    assert row(page, "tau") == ["128", "128", "128", "128"]
    assert row(page, "resolution") == ["512", "512", "768", "1024"]


def test_the_page_has_the_passes_of_every_method(page) -> None:
    """n + 1, 2 n, n + 1, and one forward with one backward."""
    assert row(page, "rge")[:4] == ["2", "3", "5", "9"]
    assert row(page, "spsa")[:4] == ["2", "4", "8", "16"]
    assert row(page, "one_point")[:4] == ["2", "3", "5", "9"]
    assert row(page, "exact") == [*["1 and 1 backward"] * 4, "500", "0"]


# --- refused alike --------------------------------------------------------------------------------

UNKNOWN = [("nn", "n"), ("lerning_rate", "learning_rate"), ("earlystop", "early_stop")]
RANGES = [
    ("n", 65, "n: needs a whole number from 1 to 64, got 65"),
    ("nu", 2, "nu: needs a number from 1e-09 to 0.999, got 2"),
    ("seed", 1 << 53, "seed: needs a whole number from 0 to 9007199254740991, got 90071992547"),
    ("method", "magic", "method: needs one of rge, spsa, one_point, exact, auto; got 'magic'"),
]


@pytest.mark.parametrize(("name", "meant"), UNKNOWN)
def test_python_names_the_nearest_setting(model, images, tmp_path, name, meant) -> None:
    said = f"there is no '{name}'; did you mean '{meant}'?"
    with pytest.raises(zoodip.Error, match=re.escape(said)):
        zoodip.train(model, images, "sks", "dog", tmp_path / "s.safetensors", **{name: 3})
    with pytest.raises(zoodip.Error, match=re.escape(said)):
        zoodip.inspect(model, **{name: 3})


@pytest.mark.parametrize(("name", "value", "said"), RANGES)
def test_python_and_program_name_the_range(run, model, images, tmp_path, name, value, said) -> None:
    out = tmp_path / "s.safetensors"
    with pytest.raises(zoodip.Error, match=re.escape(said)):
        zoodip.train(model, images, "sks", "dog", out, **QUICK, **{name: value})
    refuses(run(arguments(model, images, out, **{name: value})), said, folder=tmp_path)


@pytest.mark.parametrize(("name", "meant"), UNKNOWN)
@pytest.mark.parametrize("joined", [False, True])
def test_the_program_names_the_nearest_option(run, name, meant, joined) -> None:
    """Whatever else is missing: here all that train needs."""
    option = f"--{name.replace('_', '-')}"
    words = [f"{option}=3"] if joined else [option, "3"]
    meant = meant.replace("_", "-")
    told = run(["train", *words])
    refuses(told, f"train: there is no option '{option}'; did you mean '--{meant}'?")
    assert told.returncode == 2


def test_options_that_are_no_settings_are_named_too(run) -> None:
    refuses(run(["train", "--modle", "m"]), "no option '--modle'; did you mean '--model'?")
    refuses(run(["settings", "--jsn"]), "settings: there is no option '--jsn'")
    refuses(run(["settings", "--json", "--markdown"]), "--markdown")
    refuses(run(["setings"]), "there is no command 'setings'; did you mean 'settings'?")
