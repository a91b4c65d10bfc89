"""Names that saved graphs and scripts hold on to: of nodes, inputs and outputs. Whoever renames one
breaks them; one that is added goes into this list. Needs no ComfyUI: tests/host compares the locale
file with the nodes themselves."""

import json
from pathlib import Path

LOCALE = Path(__file__).resolve().parents[2] / "locales" / "en" / "nodeDefs.json"

OF_ONE = "images captions word initialiser"
SUBJECT = f"{OF_ONE} steps precision"
LEARNED = "clip token loss_map steps"

# Node: its inputs; its outputs.
NAMES = {
    "PersonalizeZO": (f"model clip vae {SUBJECT} train_seed options subjects", LEARNED),
    "PersonalizeFromCheckpointZO": (
        f"ckpt_name {SUBJECT} prediction train_seed clip options zero_snr subjects",
        LEARNED,
    ),
    "AddSubjectZO": (f"{OF_ONE} subjects", "subjects"),
    "AddWordZO": ("word initialiser subjects", "subjects"),
    "TrainingOptionsZO": (
        "preset method slope n mu directions direction_rank related_words batch chunk "
        "learning_rate learning_rate_schedule average_steps subspace tau nu timesteps t_lower "
        "t_upper vectors resolution flip threads memory_limit validate_every validation_samples "
        "early_stop divergence checkpoint_every checkpoints_kept preview_percent take "
        "mu_scale picture_sizes adam_eps",
        "options",
    ),
    "LoadTrainingImagesZO": ("folder size caption", "images captions count"),
    "CaptionsZO": ("template_set text count", "captions"),
    "ApplyTokenZO": ("clip token", "clip"),
    "SaveTokenZO": ("token name if_exists", "name"),
    "LoadTokenZO": ("name word", "token"),
    "TokenInfoZO": ("token", "text"),
    "LoadDemoModelZO": ("family", "model clip vae"),
}


def test_no_name_is_lost():
    nodes = json.loads(LOCALE.read_text())
    assert set(nodes) == set(NAMES)
    for name, (inputs, outputs) in NAMES.items():
        assert sorted(nodes[name].get("inputs", {})) == sorted(inputs.split()), name
        named = [output["name"] for output in nodes[name]["outputs"].values()]
        assert named == outputs.split(), name
