"""CLIPs that know words, and captions as ids, with the host's own tokenizers and encoders."""

import copy
import tempfile

import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import torch
from comfyui_zoodip.node.caption_ids import initialiser, prepare_captions, prepare_plain
from comfyui_zoodip.node.captions import CaptionError
from comfyui_zoodip.node.native import zoodip
from comfyui_zoodip.node.token import Token, TokenError, write_token
from comfyui_zoodip.node.token_clip import apply_token

WIDTH = 64
torch.manual_seed(0)


class SmallTokenizer(comfy.sd1_clip.SDTokenizer):
    def __init__(self, *args, **named):
        named["embedding_size"] = WIDTH
        super().__init__(*args, **named)


class Target:
    params: dict = {}
    clip = comfy.sd1_clip.SD1ClipModel
    tokenizer = comfy.sd1_clip.SD1Tokenizer


def small_clip(directory, like=None):
    config = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "projection_dim": WIDTH,
    }
    clip = comfy.sd.CLIP(
        Target,
        embedding_directory=directory,
        tokenizer_data={"clip_l_tokenizer_class": SmallTokenizer},
        model_options={"clip_l_model_config": config, "dtype": torch.float32},
    )
    if like is not None:
        clip.cond_stage_model.load_state_dict(like.cond_stage_model.state_dict())
        return clip
    for parameter in clip.cond_stage_model.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.1
    return clip


def token(word: str, vectors: int = 1, width: int = WIDTH, encoder: str = "clip_l") -> Token:
    return Token(word, {encoder: torch.randn(vectors, width)}, {})


SKS, CAT, OTHER = token("sks", 2), token("my-cat_v2.0"), token("oth")
FEW, ALL = tempfile.mkdtemp(), tempfile.mkdtemp()
for each in (SKS, CAT, OTHER):
    write_token(f"{ALL}/{each.word}.safetensors", each)
write_token(f"{FEW}/oth.safetensors", OTHER)

CLIP = small_clip(FEW)
WITHOUT_FOLDER = small_clip(None, CLIP)
WITH_FILES = small_clip(ALL, CLIP)
KNOWING = apply_token(apply_token(CLIP, SKS), CAT)

# A prompt with bare words, and the same with files.
PAIRS = [
    ("a photo of sks", "a photo of embedding:sks"),
    ("a photo of SKS on the beach", "a photo of embedding:sks on the beach"),
    ("sks", "embedding:sks"),
    ("sks, at night", "embedding:sks , at night"),
    ("SKS,", "embedding:sks ,"),
    ("sks's hat", "embedding:sks 's hat"),
    ("(sks:1.3) in snow", "(embedding:sks :1.3) in snow"),
    ("((sks)) in snow", "((embedding:sks )) in snow"),
    ("a\nsks\nb", "a\nembedding:sks\nb"),
    ("embedding:sks and embedding:oth x", "embedding:sks and embedding:oth x"),
    ("a (embedding:sks:0.5) b", "a (embedding:sks :0.5) b"),
    ("\\(sks\\) b", "\\( embedding:sks \\) b"),
    ("my-cat_v2.0 and My-Cat_V2.0.", "embedding:my-cat_v2.0 and embedding:my-cat_v2.0 ."),
    ("sks my-cat_v2.0 sks", "embedding:sks embedding:my-cat_v2.0 embedding:sks"),
    ("sksy asks sks_ x", "sksy asks sks_ x"),
    (
        "a cat " * 40 + "sks " + "dog " * 60,
        "a cat " * 40 + "embedding:sks " + "dog " * 60,
    ),
    ("", ""),
    ("no such word (here:1.2)", "no such word (here:1.2)"),
    ("embedding: oth b", "embedding: oth b"),
]


def encoded(clip, text: str) -> torch.Tensor:
    states, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)
    return torch.cat([states.flatten(), pooled.flatten()])


def message(kind, call) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("no error")


def check_bare_words_are_what_files_give_to_the_bit():
    for bare, files in PAIRS:
        expected = encoded(WITH_FILES, files)
        assert torch.equal(encoded(KNOWING, bare), expected), bare


def check_the_host_reads_token_files_of_every_layout():
    folder = tempfile.mkdtemp()
    clip = small_clip(folder, CLIP)
    expected = encoded(WITH_FILES, "a embedding:sks b")
    for to in ("comfyui", "a1111", "diffusers"):
        source, out = f"{ALL}/sks.safetensors", f"{folder}/sks.safetensors"
        zoodip().token_convert(source, out, to=to, overwrite=True)
        assert torch.equal(encoded(clip, "a embedding:sks b"), expected), to


def check_a_host_without_a_folder_of_embeddings():
    knowing = apply_token(apply_token(WITHOUT_FOLDER, SKS), CAT)
    for bare, files in PAIRS:
        if "oth" not in bare:
            assert torch.equal(encoded(knowing, bare), encoded(WITH_FILES, files)), bare
    for text in (
        "a embedding:oth b",
        "embedding: x",
        "embedding:",
        "a (embedding:zz,:1.2) q",
        "x embedding:foo\nembedding:bar baz",
        "embedding:oth " * 60,
    ):
        assert knowing.tokenize(text) == WITHOUT_FOLDER.tokenize(text), text


def check_prompts_without_the_word_and_the_clip_itself_are_as_they_were():
    inner = CLIP.tokenizer.clip_l
    before, kind = dict(vars(inner)), type(inner)
    for text in ("a embedding:oth b", "a photo", "a embedding:nope, b"):
        assert torch.equal(encoded(KNOWING, text), encoded(CLIP, text)), text
    assert dict(vars(inner)) == before and type(inner) is kind
    known = KNOWING.tokenizer.clip_l.zoodip_words
    assert [word for word, _ in known.values()] == ["sks", "my-cat_v2.0"]
    assert not hasattr(inner, "zoodip_words")


def check_clones_and_clip_skip_keep_the_words():
    knowing, files = KNOWING.clone(), WITH_FILES.clone()
    knowing.clip_layer(-2)
    files.clip_layer(-2)
    assert torch.equal(encoded(knowing, "sks cat"), encoded(files, "embedding:sks cat"))
    copied = copy.deepcopy(KNOWING.tokenizer)
    assert len(copied.tokenize_with_weights("sks")["l"][0]) == 77


def check_a_word_applied_again_is_the_newer_one():
    newer = token("SKS", 2)
    assert torch.equal(
        encoded(apply_token(KNOWING, newer), "a sks"), encoded(apply_token(CLIP, newer), "a sks")
    )


def check_tokens_that_do_not_fit():
    assert "32" in message(TokenError, lambda: apply_token(CLIP, token("w", 1, 32)))
    other = token("w", 1, WIDTH, "clip_g")
    assert "clip_g" in message(TokenError, lambda: apply_token(CLIP, other))


def sdxl_like():
    clip = CLIP.clone()
    clip.tokenizer = comfy.sdxl_clip.SDXLTokenizer(embedding_directory=[FEW])
    return clip


def check_sdxl_takes_a_word_with_both_encoders():
    vectors = {"clip_l": torch.randn(1, 768), "clip_g": torch.randn(1, 1280)}
    tokens = apply_token(sdxl_like(), Token("sks", vectors, {})).tokenize("a sks b")
    assert torch.equal(tokens["l"][0][2][0], vectors["clip_l"][0])
    assert torch.equal(tokens["g"][0][2][0], vectors["clip_g"][0])
    assert "clip_l" in message(TokenError, lambda: apply_token(sdxl_like(), SKS))
    prepared = prepare_captions(sdxl_like(), ["a {} dog"], "sks")[0]
    assert prepared.places == (2,)
    # Although the host pads one encoder's tokens with another id.
    assert prepared.ids[0, 5:].unique().tolist() == [49407]


def as_tokens(prepared, vectors: torch.Tensor) -> list:
    """Caption ids as the host's encoder takes them."""
    entries = prepared.ids[0].tolist()
    for place in prepared.places:
        for i in range(vectors.shape[0]):
            entries[place + i] = vectors[i]
    if prepared.fixed_vectors:
        fixed = prepared.fixed_vectors["clip_l"]
        for place, vector in zip(prepared.fixed_positions, fixed, strict=True):
            entries[place] = vector
    return [[(entry, 1.0) for entry in entries]]


def check_caption_ids_are_what_the_host_makes_of_the_prompt():
    new = token("new", 2)
    knowing = apply_token(KNOWING, new)
    for caption in (
        "a photo of a {}",
        "{}",
        "{}{}",
        "({})",
        "x {}s (embedding:oth:1.2) sks",
        "new NEW {}",
        "\\({}\\) \\ b",
        "a {} sks's my-cat_v2.0",
        "[{}] embedding:new",
    ):
        prepared = prepare_captions(KNOWING, [caption], "new", vectors=2)[0]
        mine = as_tokens(prepared, new.vectors["clip_l"])
        text = caption.replace("{}", " new ").replace("(", "\\(").replace(")", "\\)")
        (theirs,) = knowing.tokenize(text)["l"]
        for (value, _), (expected, weight) in zip(mine[0], theirs, strict=True):
            assert weight == 1.0
            same = value == expected
            assert torch.equal(value, expected) if torch.is_tensor(expected) else same, caption
        states = knowing.cond_stage_model.encode_token_weights({"l": mine})[0]
        assert torch.equal(states, knowing.encode_from_tokens(knowing.tokenize(text))), caption
        assert not prepared.ids.is_inference()


def check_the_empty_prompt_and_the_longest_caption():
    empty = prepare_plain(CLIP, "")
    assert empty.ids[0].tolist() == [49406] + [49407] * 76 and empty.places == ()
    assert prepare_captions(CLIP, ["{} " + "dog " * 74], "sks")[0].places == (1,)
    assert "75" in message(CaptionError, lambda: prepare_captions(CLIP, ["{} " + "dog " * 80], "s"))


def check_initialisers():
    assert initialiser(CLIP, "dog") == initialiser(CLIP, " Dog ") == [1929]
    assert initialiser(CLIP, "brown dog") == initialiser(CLIP, "brown, dog") == [2866, 1929]
    assert torch.equal(initialiser(KNOWING, "my-cat_v2.0")["clip_l"], CAT.vectors["clip_l"])
    assert torch.equal(initialiser(KNOWING, "sks")["clip_l"], SKS.vectors["clip_l"])
    assert torch.equal(initialiser(CLIP, "embedding:oth")["clip_l"], OTHER.vectors["clip_l"])
    for clip, text, said in (
        (CLIP, "wobbly teapot", "wobbly"),
        (CLIP, "", "needs a word"),
        (KNOWING, "sks dog", "learned words beside plain ones"),
        (CLIP, "embedding:nope", "no such embedding"),
        (CLIP, "(dog:1.2)", "dog"),
    ):
        found = message(CaptionError, lambda clip=clip, text=text: initialiser(clip, text))
        assert said in found, found
