"""Lists of captions and template sets."""

from __future__ import annotations

import pytest
from comfyui_zoodip.node.captions import (
    TEMPLATES,
    CaptionError,
    listed_captions,
    match_captions,
    split_captions,
    template_captions,
)


def test_lines():
    assert split_captions(" a {}\r\n\n  \nb {} \n") == ["a {}", "b {}"]
    assert split_captions(" \n ") == []


def test_one_for_each_or_one_for_all():
    assert match_captions(["a", "b"], 2) == ["a", "b"]
    assert match_captions(["a"], 3) == ["a", "a", "a"]


DEFAULT = "a photo of a {}"


@pytest.mark.parametrize(
    ("items", "count", "captions"),
    [
        (["", "", "a red {}", " ", ""], 5, [DEFAULT, DEFAULT, "a red {}", DEFAULT, DEFAULT]),
        (["a {}", "b {}\nin two lines \r\n"], 2, ["a {}", "b {} in two lines"]),
        (["", None], 2, [DEFAULT, DEFAULT]),
        (["a {}\n\nb {}\n"], 2, ["a {}", "b {}"]),
        (["a {}\n"], 2, ["a {}"]),
        (["a {}\n"], 1, ["a {}"]),
        ([" "], 1, []),
        (["a {}\nb {}", "c {}"], 3, ["a {}", "b {}", "c {}"]),
        (["a {}", ""], 5, ["a {}", DEFAULT]),
        (["", "a red {}", "", ""], 5, [DEFAULT, "a red {}", DEFAULT, DEFAULT]),
    ],
)
def test_what_comes_over_a_wire(items, count, captions):
    assert listed_captions(items, count) == captions


def test_an_empty_caption_of_a_list_is_not_another_pictures():
    with pytest.raises(CaptionError, match="^4 captions for 5 pictures"):
        match_captions(listed_captions(["", "a red {}", "", ""], 5), 5)


@pytest.mark.parametrize(
    ("captions", "count", "says"),
    [
        (["a", "b"], 1, "^2 captions for 1 picture: give one line for each"),
        (["a", "b"], 3, "^2 captions for 3 pictures"),
        ([], 3, "^0 captions for 3 pictures"),
    ],
)
def test_numbers_that_differ(captions, count, says):
    with pytest.raises(CaptionError, match=says):
        match_captions(captions, count)


@pytest.mark.parametrize(("name", "count"), [("object", 27), ("style", 17)])
def test_template_sets(name, count):
    captions = template_captions(name, "not used", 0)
    assert captions == TEMPLATES[name] and len(captions) == count
    assert all(caption.count("{}") == 1 for caption in captions)
    assert template_captions(name, "", count + 2) == captions + captions[:2]
    assert template_captions(name, "", 3) == captions[:3]


@pytest.mark.parametrize(("earlier", "name"), [("objects", "object"), ("styles", "style")])
def test_graphs_saved_before_have_their_templates(earlier, name):
    assert template_captions(earlier, "", 0) == TEMPLATES[name]


def test_lines_below():
    assert template_captions("lines below", "a\nb", 0) == ["a", "b"]
    assert template_captions("lines below", "a\nb", 3) == ["a", "b", "a"]
    assert template_captions("lines below", "a\nb", 1) == ["a"]


@pytest.mark.parametrize(
    ("name", "text", "count", "says"),
    [
        ("lines below", " \n", 2, "there are no captions: write one a line"),
        ("lines below", "a", -1, "the count of captions is -1"),
        ("poems", "a", 1, "no template set 'poems'; choose one of lines below, object, style"),
    ],
)
def test_captions_that_cannot_be(name, text, count, says):
    with pytest.raises(CaptionError, match=says):
        template_captions(name, text, count)
