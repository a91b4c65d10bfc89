"""The nodes' own classes, as the host asks them."""

import asyncio

import comfyui_zoodip
import folder_paths
import torch
from comfyui_zoodip.node import demo_model, nodes_data, nodes_token, options, personalize
from comfyui_zoodip.node.token import Token

GROUPS = (personalize, options, nodes_data, nodes_token, demo_model)
NODES = [node for group in GROUPS for node in group.NODES]


def run(node, **inputs):
    return node.PREPARE_CLASS_CLONE({}).EXECUTE_NORMALIZED(**inputs)


def check_everything_is_named_and_explained():
    assert len(NODES) == 10
    for node in NODES:
        schema = node.GET_SCHEMA()
        assert schema.category == "ZOODiP" and schema.display_name.endswith("(ZO)")
        assert schema.description
        for part in (*schema.inputs, *schema.outputs):
            assert part.tooltip, (schema.node_id, part.id)
        assert all(output.display_name for output in schema.outputs)
        node.GET_NODE_INFO_V1()


def check_the_entry_point_is_a_coroutine_and_nothing_is_v1():
    assert asyncio.iscoroutinefunction(comfyui_zoodip.comfy_entrypoint)
    assert not hasattr(comfyui_zoodip, "NODE_CLASS_MAPPINGS")
    assert comfyui_zoodip.WEB_DIRECTORY == "./web"


def check_no_widget_randomises_itself():
    """The host puts "control after generate" beside what is called seed."""
    for node in NODES:
        names = {part.id for part in node.GET_SCHEMA().inputs}
        assert not names & {"seed", "noise_seed"}


def token(step: str) -> Token:
    return Token("sks", {"clip_l": torch.randn(1, 768)}, {"step": step})


def check_saving_numbers_or_replaces_and_lists_at_once():
    save, load = nodes_token.SaveTokenZO, nodes_token.LoadTokenZO
    first, second = token("3"), token("4")
    assert folder_paths.get_filename_list("embeddings") == []
    assert run(save, token=first, name="", if_exists="number").result == ("embedding:sks",)
    assert folder_paths.get_filename_list("embeddings") == ["sks.safetensors"]
    assert run(save, token=second, name="", if_exists="number").result == ("embedding:sks_2",)
    assert run(save, token=second, name="", if_exists="number").result == ("embedding:sks_2",)
    names = ["sks.safetensors", "sks_2.safetensors"]
    assert sorted(folder_paths.get_filename_list("embeddings")) == names
    print_before = load.fingerprint_inputs("sks.safetensors", "")
    (read,) = run(load, name="sks.safetensors", word="").result
    assert torch.equal(read.vectors["clip_l"], first.vectors["clip_l"])
    run(save, token=second, name="sks", if_exists="replace")
    assert load.fingerprint_inputs("sks.safetensors", "") != print_before
    assert run(load, name="sks.safetensors", word="new ").result[0].word == "new"


def check_folders_of_the_package_and_of_the_input_folder():
    load = nodes_data.LoadTrainingImagesZO
    images, captions, count = run(
        load, folder="zoodip demo/blue_spotted_dog", size=64, caption="x"
    ).result
    assert images.shape == (5, 64, 64, 3) and count == 5 == len(captions.split("\n"))
    assert load.validate_inputs("zoodip demo/blue_spotted_dog") is True
    assert "gone" in load.validate_inputs("gone")
    one = load.fingerprint_inputs("zoodip demo/blue_spotted_dog", 1, "")
    assert one != load.fingerprint_inputs("gone", 1, "")


def check_captions():
    captions = nodes_data.CaptionsZO
    (text,) = run(captions, template_set="style", text="", count=2).result
    assert text == "a painting in the style of {}\na rendering in the style of {}"
    assert run(captions, template_set="styles", text="", count=2).result == (text,)  # as before
    for name in ("lines below", "object", "style", "objects", "styles", None):
        assert captions.validate_inputs(name) is True
    assert "no template set 'poems'" in captions.validate_inputs("poems")
    (text,) = run(captions, template_set="lines below", text=" a {} \n\nthe {}", count=3).result
    assert text == "a {}\nthe {}\na {}"
