"""Several subjects of one Personalize node, in a real ComfyUI."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import DEMO, node, run, sampled, states, succeeded, training

STEPS = 20
OTHER = DEMO.rsplit("/", 1)[0] + "/green_checked_teapot"
BOTH = "a photo of a sks beside a zwx"


def together(**changed) -> dict:
    """Personalize (3) with a second subject (5) and a third (6) in a chain."""
    prompt = training(STEPS, "sks", subjects=["6", 0], **changed)
    prompt["4"] = node("LoadTrainingImagesZO", folder=OTHER, size=128, caption="a picture of a {}")
    for number, word, before in (("5", "zwx", {}), ("6", "ohwx", {"subjects": ["5", 0]})):
        prompt[number] = node(
            "AddSubjectZO",
            images=["4", 0],
            captions=["4", 1],
            word=word,
            initialiser="cat" if before else "teapot",
            **before,
        )
    return prompt


@pytest.fixture(scope="module")
def ran(shared_comfy):
    prompt = together() | {"10": node("SaveTokenZO", token=["3", 1], name="", if_exists="replace")}
    return succeeded(shared_comfy, sampled(prompt, 20, BOTH, ["3", 0]))


def test_the_clip_knows_all_words(ran):
    prompt = together() | {
        str(20 + i): states(["3", 0], f"a photo of a {word}")
        for i, word in enumerate(("sks", "zwx", "ohwx", "dog"))
    }
    prompt |= {
        "30": states(["1", 1], "a photo of a zwx"),
        "31": states(["1", 1], "a photo of a dog"),
    }
    told = succeeded(ran.comfy, prompt)
    assert len({told.text(str(20 + i)) for i in range(4)}) == 4
    assert told.text("21") != told.text("30")
    assert told.text("23") == told.text("31")


def test_each_is_saved_under_its_word(ran):
    folder = ran.comfy.base / "models" / "embeddings"
    for word in ("sks", "zwx", "ohwx"):
        assert (folder / f"{word}.safetensors").is_file()
    assert ran.outputs["9"]["zoodip_text"][0].startswith("word: sks")


def test_each_is_the_word_that_it_is_alone(ran):
    """And is found: the training of one alone is not done again."""
    alone = training(STEPS, "zwx", images=["4", 0], captions=["4", 1], initialiser="teapot")
    alone["4"] = together()["4"]
    alone["20"] = states(["3", 0], "a photo of a zwx")
    found = succeeded(ran.comfy, alone)
    assert found.progress[-1]["state"] in ("reused", "finished")
    prompt = together() | {"20": states(["3", 0], "a photo of a zwx")}
    assert succeeded(ran.comfy, prompt).text("20") == found.text("20")


def test_the_page_hears_of_the_node_s_own_run(ran):
    mine = [told for told in ran.progress if told["graph"]["node"] == "3"]
    assert mine and {told["word"] for told in mine} == {"sks"}
    assert mine[-1]["step"] == STEPS and mine[-1]["group"]
    others = {told["word"] for told in ran.progress} - {"sks"}
    assert others <= {"zwx", "ohwx"}


def test_a_picture_of_two_words_can_be_drawn(ran):
    assert np.asarray(ran.pixels("25")).std() > 0


def in_one_caption(**changed) -> dict:
    """Personalize (3) with a second word (5) in its captions."""
    captions = "a photo of {sks} beside {zwx}"
    prompt = training(STEPS, "sks", subjects=["5", 0], captions=captions, **changed)
    prompt["5"] = node("AddWordZO", word="zwx", initialiser="teapot")
    return prompt


def test_words_of_the_same_captions_are_learned_together_and_found_again(shared_comfy):
    prompt = in_one_caption() | {
        "10": node("SaveTokenZO", token=["3", 1], name="both", if_exists="add number"),
        "20": states(["3", 0], "a photo of a sks"),
        "21": states(["3", 0], "a photo of a zwx"),
        "22": states(["1", 1], "a photo of a sks"),
        "23": states(["1", 1], "a photo of a zwx"),
        "24": states(["3", 0], "a photo of a sks beside zwx"),
    }
    told = succeeded(shared_comfy, prompt)
    assert len({told.text(str(20 + i)) for i in range(5)}) == 5
    assert told.progress[-1]["also"] == {"zwx": "teapot"}
    # Behind another prompt ComfyUI has forgotten the result, and the engine has it still.
    succeeded(shared_comfy, training(STEPS, "between"))
    again = succeeded(shared_comfy, in_one_caption() | {"20": prompt["20"]})
    assert again.progress[-1]["state"] == "reused"
    assert again.text("20") == told.text("20")
    # With a word of its own captions a subject is another training; both go together in a chain.
    chained = in_one_caption()
    chained["4"] = together()["4"]
    chained["6"] = node(
        "AddSubjectZO",
        images=["4", 0],
        captions=["4", 1],
        word="ohwx",
        initialiser="cat",
        subjects=["5", 0],
    )
    chained["3"]["inputs"]["subjects"] = ["6", 0]
    for i, word in enumerate(("sks", "zwx", "ohwx")):
        chained[str(20 + i)] = states(["3", 0], f"a photo of a {word}")
    both = succeeded(shared_comfy, chained)
    assert both.text("20") == told.text("20")
    assert len({both.text(str(20 + i)) for i in range(3)}) == 3


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ("a photo of {sks}", "word 'zwx': none of the captions has it"),
        ("a photo of {} beside {zwx}", "which stands for the only word"),
        ("a photo of a dog", "contains none of the words"),
    ],
)
def test_captions_that_do_not_say_which_word_are_refused(shared_comfy, captions, message):
    prompt = in_one_caption()
    prompt["3"]["inputs"]["captions"] = captions
    assert message in run(shared_comfy, prompt).message


def test_two_subjects_of_one_word_are_refused_by_name(ran):
    prompt = together()
    prompt["6"]["inputs"]["word"] = "sks"
    failed = run(ran.comfy, prompt)
    assert "two have the word 'sks'" in failed.message


def test_a_subject_that_cannot_be_is_named(ran):
    prompt = together()
    prompt["5"]["inputs"]["captions"] = "a picture without it"
    failed = run(ran.comfy, prompt)
    assert "subject 'zwx'" in failed.message
