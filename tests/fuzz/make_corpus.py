#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets into corpus/. What fuzzing found lies beside them.

The files are committed; run this after a change of the seeds, with the Python of the tests.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "tools")]

from make_checkpoint import to_original  # noqa: E402
from picture_files import (  # noqa: E402
    ADOBE_RGB,
    HEIC,
    XMP,
    grey_profile,
    icc_segments,
    odd_scan_header,
    raw_exif_text,
    with_chunk,
    with_segments,
    xmp_segment,
)
from random_modules import SHAPES, Modules, construct  # noqa: E402
from server_seeds import form_seeds, http_head_seeds  # noqa: E402

CORPUS = HERE / "corpus"
Seeds = Iterator[tuple[str, bytes]]

# --- safetensors: tokens, states and what is none ---------------------------------------------


def safetensors(header: object, data: bytes = b"", pad: int = 0) -> bytes:
    """A file with this header, whether it is true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def safetensors_seeds() -> Seeds:
    one = tensor("F32", [2], 0, 8)
    yield "none", safetensors({})
    yield "one", safetensors({"a": one}, floats(1, 2))
    yield "padded", safetensors({"a": one}, floats(1, 2), pad=7)
    types = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E4M3"]
    sizes = [8, 4, 2, 2, 8, 4, 2, 1, 1, 1, 1]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    every = {
        f"t{i}": tensor(name, [1], ends[i] - sizes[i], ends[i]) for i, name in enumerate(types)
    }
    every["__metadata__"] = {"word": "sks", "format": "pt"}
    yield "types", safetensors(every, bytes(ends[-1]))
    yield "scalar", safetensors({"a": tensor("F16", [], 0, 2)}, b"\0\0")
    yield "empty-tensor", safetensors({"a": tensor("F32", [0, 3], 0, 0), "b": one}, bytes(8))
    yield "huge-empty", safetensors({"a": tensor("U8", [0, 1 << 47, 1 << 47], 0, 0)})
    yield "16-axes", safetensors({"a": tensor("U8", [1] * 16, 0, 1)}, b"\1")
    names = {"": tensor("U8", [1], 0, 1), "\u00e9\u4e2d": tensor("U8", [8], 1, 9)}
    yield "names", safetensors(names, bytes(9))
    yield "overlap", safetensors({"a": one, "b": one}, bytes(8))
    yield "gap", safetensors({"a": tensor("F32", [2], 8, 16)}, bytes(16))
    yield "overflow", safetensors({"a": tensor("F32", [(1 << 48) - 1] * 2, 0, 8)}, bytes(8))
    yield "short", safetensors({"a": one}, bytes(7))
    yield "long", safetensors({"a": one}, bytes(9))
    yield "twice", safetensors(b'{"__metadata__":{"k":"1","k":"2"}}')
    yield "deep", safetensors(b'{"a":' + b"[" * 200)
    yield "no-json", safetensors(b'{"a":')
    yield "not-utf8", safetensors(b'{"\xff":{}}')
    yield "huge-header", struct.pack("<Q", 1 << 62) + b"{}"
    yield "pickle", b"PK\x03\x04" + b"x" * 30
    yield "gguf", b"GGUF" + bytes(30)
    yield "page", b"<!DOCTYPE html>\n<html>Not found</html>"


def token_seeds() -> Seeds:
    def token(metadata: dict[str, str], **shapes: list[int]) -> bytes:
        header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
        at = 0
        for name, shape in shapes.items():
            size = 4
            for axis in shape:
                size *= axis
            header[name] = tensor("F32", shape, at, at + size)
            at += size
        return safetensors(header, floats(*(0.25 * i for i in range(at // 4))))

    yield "ours", token({"word": "sks", "zoodip": "{}"}, clip_l=[1, 6])
    yield "several-vectors", token({"word": "my-dog"}, clip_l=[3, 4])
    yield "no-metadata", token({}, emb_params=[2, 3])
    yield "one-axis", token({"word": "<cat>"}, vectors=[5])
    yield "two-encoders", token({"word": "sks"}, clip_g=[1, 5], clip_l=[1, 3])
    yield "output-vector", token({}, emp_params=[1, 2], emp_params_out=[1, 2])
    yield "pivotal", token({}, text_encoders_0=[1, 2], text_encoders_1=[1, 3])
    bundled = {"bundle_emb.sks.string_to_param.*": [1, 2], "a.lora_up.weight": [1]}
    yield "in-a-lora", token({}, **bundled)
    yield "two-in-a-lora", token({}, **bundled, **{"bundle_emb.b.emb_params": [1, 2]})
    yield "other-names", token({"word": "sks"}, a=[1, 2], b=[1, 2])
    yield "no-tensor", token({"word": "sks"})
    yield "empty-word", token({"word": ""}, clip_l=[1, 2])
    yield "braces", token({"word": "{}"}, clip_l=[1, 2])
    yield "many-vectors", token({"word": "a"}, clip_l=[90, 1])
    yield "no-vectors", token({"word": "sks"}, clip_l=[0, 4])
    yield "three-axes", token({"word": "sks"}, clip_l=[1, 1, 2])
    yield "nan", safetensors({"clip_l": tensor("F32", [1, 1], 0, 4)}, b"\0\0\xc0\x7f")
    yield "infinity", safetensors({"clip_l": tensor("F16", [1, 1], 0, 2)}, b"\0\x7c")
    yield "bfloat16", safetensors({"clip_l": tensor("BF16", [1, 2], 0, 4)}, b"\x80?\0@")
    yield "float8", safetensors({"clip_l": tensor("F8_E4M3", [2], 0, 2)}, b"\x38\x30")
    yield "integers", safetensors({"clip_l": tensor("I64", [1], 0, 8)}, bytes(8))


# --- pictures ---------------------------------------------------------------------------------


def picture(mode: str, width: int = 9, height: int = 7) -> Image.Image:
    """A gradient with an edge."""
    rgb = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            rgb.putpixel((x, y), (25 * x % 256, 35 * y % 256, 255 if x > y else 0))
    if mode == "RGBA":
        rgb.putalpha(Image.linear_gradient("L").resize((width, height)))
        return rgb
    return rgb.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(width: int, height: int, kind: int, depth: int, rows: bytes, interlace: int = 0) -> bytes:
    """What Pillow does not write: any colour type and depth, interlaced or not."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation: int, order: str) -> bytes:
    """A directory of two entries; the second is the orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHIHH", 0x0100, 3, 1, 9, 0)
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 2) + entries + struct.pack(order + "I", 0)


def png_seeds() -> Seeds:
    for mode in ("RGB", "L", "1", "P", "RGBA", "LA"):
        image = picture("RGBA").convert(mode) if mode == "LA" else picture(mode)
        yield f"{mode}.png", saved(image, "PNG")
    yield "transparent-palette.png", saved(picture("P"), "PNG", transparency=0)
    yield "16-bit.png", saved(Image.new("I;16", (3, 2), 40000), "PNG")
    yield "rgb-48.png", png(1, 2, 2, 16, (b"\0" + bytes(range(6))) * 2)
    yield "interlaced.png", png(2, 1, 2, 8, b"\0\1\2\3\0\4\5\6", interlace=1)
    yield "two-bits.png", png(5, 1, 0, 2, b"\0\x1b\xc0")
    yield "huge.png", png(32768, 1953, 0, 1, b"")
    yield "too-large.png", png(40000, 1, 0, 1, b"")
    yield "cut-off.png", saved(picture("RGB"), "PNG")[:-20]


def repeated_scan(jpeg: bytes, scans: int) -> bytes:
    """The first scan of a progressive JPEG, with all its bits at once, so often and alone."""
    begin = jpeg.index(b"\xff\xda")
    end = jpeg.index(b"\xff\xc4", begin)
    scan = bytearray(jpeg[begin:end])
    scan[9] = 0
    return jpeg[:begin] + bytes(scan) * scans + b"\xff\xd9"


def jpeg_seeds() -> Seeds:
    yield "rgb.jpg", saved(picture("RGB"), "JPEG", quality=60)
    yield "grey.jpg", saved(picture("L"), "JPEG")
    yield "full-colour.jpg", saved(picture("RGB", 17, 11), "JPEG", subsampling=0, quality=30)
    yield "progressive.jpg", saved(picture("RGB"), "JPEG", progressive=True)
    yield "restart.jpg", saved(picture("RGB", 40, 8), "JPEG", restart_marker_blocks=1)
    yield "cmyk.jpg", saved(picture("CMYK"), "JPEG")
    for orientation, order in ((3, ">"), (6, "<"), (8, ">"), (9, "<")):
        data = b"Exif\0\0" + exif(orientation, order)
        yield f"exif-{orientation}.jpg", saved(picture("RGB"), "JPEG", exif=data, quality=20)
    yield "cut-off.jpg", saved(picture("RGB"), "JPEG")[:-60]
    yield "scans.jpg", repeated_scan(saved(picture("L"), "JPEG", progressive=True), 90)


def metadata_seeds() -> Seeds:
    yield "exif.webp", saved(picture("RGB"), "WEBP", exif=exif(6, ">"))
    yield "exif.png", saved(picture("RGB"), "PNG", exif=exif(8, "<"))
    text = raw_exif_text(exif(5, "<"))
    yield "exif-as-text.png", with_chunk(saved(picture("L"), "PNG"), b"zTXt", text)
    xmp = XMP.format(6).encode()
    yield "xmp.webp", saved(picture("RGB"), "WEBP", xmp=xmp)
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    yield "xmp.png", with_chunk(saved(picture("L"), "PNG"), b"iTXt", body)
    yield "xmp.jpg", with_segments(saved(picture("L"), "JPEG"), xmp_segment(7))
    yield "scan-header.jpg", odd_scan_header(saved(picture("RGB"), "JPEG"))


def profile_seeds() -> Seeds:
    for name, profile in (("wide", ADOBE_RGB), ("grey", grey_profile(1.4)), ("none", b"profile")):
        image = picture("L" if name == "grey" else "RGBA")
        yield f"{name}-profile.png", saved(image, "PNG", icc_profile=profile)
    yield "profile.webp", saved(picture("RGB"), "WEBP", icc_profile=ADOBE_RGB)
    parts = icc_segments(ADOBE_RGB, 200)
    yield "profile.jpg", with_segments(saved(picture("RGB"), "JPEG"), *parts)
    yield "part-of-profile.jpg", with_segments(saved(picture("RGB"), "JPEG"), *parts[1:])


def other_seeds() -> Seeds:
    for mode in ("RGB", "L", "1"):
        yield f"{mode}.gif", saved(picture(mode), "GIF")
        yield f"{mode}.bmp", saved(picture(mode), "BMP")
    yield "transparent.gif", saved(picture("P"), "GIF", transparency=3, interlace=1)
    yield "alpha.bmp", saved(picture("RGBA"), "BMP")
    yield "grid.heic", HEIC
    for name, options in {"rgb": {}, "turned": {"exif": exif(6, "<")}}.items():
        yield f"{name}.avif", saved(picture("RGB"), "AVIF", quality=60, **options)
    yield "alpha.avif", saved(picture("RGBA"), "AVIF", quality=60)


def picture_seeds() -> Seeds:
    yield from png_seeds()
    yield from jpeg_seeds()
    yield "lossy.webp", saved(picture("RGB"), "WEBP", quality=40)
    yield "lossless.webp", saved(picture("RGB"), "WEBP", lossless=True)
    yield "alpha.webp", saved(picture("RGBA"), "WEBP", quality=40)
    frames = [picture("RGB"), picture("L").convert("RGB")]
    film = {"save_all": True, "append_images": frames[1:]}
    for kind in ("webp", "gif", "png", "mpo"):
        yield f"film.{kind}", saved(frames[0], kind.upper(), **film)
    yield "cut-off.webp", saved(picture("RGB"), "WEBP")[:-30]
    yield from metadata_seeds()
    yield from profile_seeds()
    yield from other_seeds()
    yield "heic", b"\0\0\0\x18ftypheic\0\0\0\0"
    yield "gif", saved(picture("P"), "GIF")


# --- JSON and text ----------------------------------------------------------------------------


def run_state_seeds() -> Seeds:
    def state(identity: object, step: str = "7", kind: str = "zoodip run 1", **more: int) -> bytes:
        rows = {"theta": 0, "m": 0, "v": 0, **more}
        header: dict[str, object] = {}
        at = 0
        for name, count in rows.items():
            shape = [count, 3] if count else [3]
            header[name] = tensor("F32", shape, at, at + 12 * (count or 1))
            at += 12 * (count or 1)
        text = identity if isinstance(identity, str) else json.dumps(identity)
        header["__metadata__"] = {"kind": kind, "step": step, "identity": text}
        return safetensors(header, floats(*(0.5 * i for i in range(at // 4))))

    identity = {
        "settings": {"n": 2, "caption": "a {}"},
        "model": "model",
        "pictures": ["first", "second"],
    }
    yield "the-same", state(identity)
    yield "with-subspace", state(identity, buffer=2, projection=1)
    yield "other-settings", state(identity | {"settings": {"n": 3, "caption": "a {}"}})
    yield "other-pictures", state(identity | {"pictures": ["first", "third"]})
    yield "fewer-pictures", state(identity | {"pictures": ["first"]})
    yield "no-object", state([1, 2])
    yield "no-json", state("{")
    yield "deep", state("[" * 300 + "]" * 300)
    yield "step", state(identity, step="99999999999999999999")
    yield "negative-step", state(identity, step="-1")
    yield "other-kind", state(identity, kind="zoodip run 0")
    half = {
        "theta": tensor("F16", [1], 0, 2),
        "__metadata__": {"kind": "zoodip run 1", "step": "1", "identity": "{}"},
    }
    yield "half", safetensors(half, bytes(2))
    yield "token", safetensors({"clip_l": tensor("F32", [1, 1], 0, 4)}, bytes(4))


def settings_seeds() -> Seeds:
    values = {
        "all": {
            "steps": 100,
            "n": 4,
            "mu": 0.01,
            "learning_rate": 0.005,
            "subspace": True,
            "tau": 64,
            "nu": 0.001,
            "t_lower": 500,
            "t_upper": 900,
            "resolution": 256,
            "flip": 0.5,
            "caption": "a photo of a {} \u00e9",
            "seed": 9007199254740991,
        },
        "choices": {"weights": "dense", "compute": "bf16", "device": "cuda", "prediction": "v"},
        "out-of-range": {"steps": 0},
        "not-whole": {"n": 1.5},
        "whole-as-number": {"n": 2.0, "mu": 1},
        "large": {"seed": 18446744073709551615},
        "contradiction": {"t_lower": 900, "t_upper": 500},
        "nearest": {"learning_rat": 1},
        "types": {"caption": [1, {"a": None}], "subspace": 1, "mu": "1e-3"},
        "list": [1, 2],
    }
    for name, value in values.items():
        yield f"{name}.json", json.dumps(value).encode()
    yield "deep.json", b'{"mu":' + b"[" * 500 + b"]" * 500 + b"}"
    yield "infinite.json", b'{"mu": 1e999, "nu": 1e-400}'
    yield "lines.txt", b"steps=10\nmu=1e-3\ncaption=a {} on a beach\nsubspace=false\n"
    yield "not-utf8.txt", b"caption=a \xff {}\nweights=\xc3\x28\n\xfe=1\n"


def diffusers_config_seeds() -> Seeds:
    unet = {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": 8,
        "num_attention_heads": None,
    }
    values = {
        "unet": unet,
        "heads-list": {"attention_head_dim": [8, 8, 8, 8]},
        "heads-differ": {"attention_head_dim": [5, 10, 20, 20]},
        "text": {"model_type": "clip_text_model", "num_attention_heads": 12},
        "activation": {"hidden_act": "gelu"},
        "scheduler": {"prediction_type": "v_prediction", "num_train_timesteps": 1000},
        "zero-snr": {
            "_class_name": "DDIMScheduler",
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "rescale_betas_zero_snr": True,
        },
        "cosine": {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2"},
        "betas": {"trained_betas": [0.001, 1e300, None, "0.1"], "beta_start": -1},
        "flow": {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_flow_sigmas": True},
        "continuous": {"timestep_type": "continuous", "num_train_timesteps": 1e3},
        "sizes": {"sample_size": [64, 64], "block_out_channels": [32] * 4},
        "large-size": {"sample_size": 1 << 62, "block_out_channels": [1] * 100},
        "operations": {"act_fn": "gelu", "norm_eps": [], "mid_block_type": None},
        "vae": {"scaling_factor": 0.13025, "shift_factor": None},
        "shift": {"scaling_factor": 1e300, "shift_factor": "0.1"},
        "index": {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet"]},
        "other-family": {"_class_name": "StableDiffusionXLPipeline"},
        "flux": {"_class_name": "FluxPipeline"},
        "types": {"scaling_factor": [], "num_attention_heads": {"a": [1]}, "hidden_act": True},
        "large": {"attention_head_dim": 18446744073709551615, "scaling_factor": -1},
        "list": [1],
    }
    for name, value in values.items():
        yield f"{name}.json", json.dumps(value).encode()
    yield "deep.json", b'{"attention_head_dim":' + b"[" * 500 + b"]" * 500 + b"}"
    yield "empty.json", b""
    yield "cut-off.json", b'{"scaling_factor": 0.'


# --- names: a model's tensors, one a line -------------------------------------------------------


def model_names_seeds() -> Seeds:
    def lines(shapes: dict[str, list[int]]) -> bytes:
        return "\n".join(" ".join(map(str, (n, *s))) for n, s in shapes.items()).encode()

    for shape in ("tiny", "tiny-taesd", "tiny-sd2", "tiny-xl"):
        kind = SHAPES[shape]
        modules = Modules(**{part: construct(kind, part, "meta") for part in kind.parts})
        original = to_original(modules, kind.preset)
        whole = {name: list(tensor.shape) for name, tensor in original.items()}
        yield f"{shape}.txt", lines(whole)
        holes = {name: size for i, (name, size) in enumerate(whole.items()) if i % 7}
        yield f"{shape}-holes.txt", lines(holes) + b"\nzoodip.text_layers=3\nzoodip.zero_snr=true"
    few = {
        "model.diffusion_model.input_blocks.0.0.weight": [32, 4, 3, 3],
        "model.diffusion_model.input_blocks.99.1.transformer_blocks.99.attn2.to_k.weight": [8, 8],
        "model.diffusion_model.output_blocks.98.1.conv.weight": [],
        "cond_stage_model.transformer.embeddings.token_embedding.weight": [9, 8],
        "first_stage_model.taesd_decoder.99.weight": [1],
        "first_stage_model.taesd_encoder.5.conv.0.weight": [1, 2, 3],
    }
    yield "strange.txt", lines(few)
    layers = '{"layers": {"a": {"format": "int8_tensorwise", "params": {"convrot": true}}}}'
    yield "quantised.txt", lines(few) + f"\n_quantization_metadata={layers}".encode()


def text_seeds() -> Seeds:
    texts = {
        "plain": "sks\na photo of a {} on the beach",
        "written-out": "my-dog\nMy-Dog and my-dogs, my-dog.",
        "none": "sks\na photo of a dog",
        "ordinary": "dog\n{}",
        "number": "12.5\n{}",
        "two-tokens": "wobbly teapot\na {} {}",
        "long": "sks\n{} " + "a very " * 40,
        "contractions": "sks\n{}'s isn't they'll I'd 2'm",
        "special": "sks\n<|startoftext|> {} <|endoftext|><|EndOfText|>",
        "accents": "sks\n\u00e9 e\u0301 \u1e9b\u0323 \u212b {}",
        "marks": "sks\n{} a" + "\u0301\u0323" * 20,
        "scripts": "sks\n{} \u4e2d\u6587 \u0939\u093f \ud55c\u1100\u1161\u11a7 \u0130I",
        "digits": "sks\n{} 1234 \u2167 \u00bd",
        "spaces": "sks\n\u00a0{}\u2003\u0085\t",
        "emoji": "sks\n{} \U0001f415\u200d\U0001f9ba",
        "braces": "a{}\n{}{}{",
    }
    for name, text in texts.items():
        yield f"{name}.txt", text.encode()
    yield "not-utf8.txt", b"sks\n{} \xff \xc3 \xe2\x82 \xf0\x9f \xed\xa0\x80 \xc0\xaf"
    yield "empty.txt", b""


def caption_file_seeds() -> Seeds:
    texts = {
        "plain": "a photo of sks\r\n on grass",
        "invisible": "\ufeffa\u200bsks \u00ad\u2060 \u200dsks\ufe0f \u200e",
        "edges": "\u201csks\u201d\u2014sks\u4e00\u0e17\u0e35sks\uc758 \u00e9sks sks\u0301",
        "signs": "(sks:1.3) [a:b:0.5] {a|b} <lora:x:1> <sks> BREAK AND __a__ \\( embedding:a ((((",
        "rows": '{"file_name": "a.png", "text": "{}"}\n\n{"image_path": "/a.png", "caption": "b"}',
        "cut-row": '{"file_name": "a.png", "te',
        "odd-rows": '[]\n{"file_name": 3, "text": "a"}\n{"text": null}\n',
    }
    for name, text in texts.items():
        yield f"{name}.txt", text.encode()
    for encoding in ("utf-16", "utf-16-be", "utf-32", "cp1252", "gbk"):
        yield f"{encoding}.txt", "a photo of sks, \u2019".encode(encoding, errors="replace")
    yield "empty.txt", b""
    yield "not-utf8.txt", b"sks \xff \xc3 \xe2\x82 \xf0\x9f \xed\xa0\x80 \xc0\xaf"


TARGETS = {
    "safetensors": safetensors_seeds,
    "picture": picture_seeds,
    "token_file": token_seeds,
    "run_state": run_state_seeds,
    "settings": settings_seeds,
    "diffusers_config": diffusers_config_seeds,
    "model_names": model_names_seeds,
    "text": text_seeds,
    "caption_file": caption_file_seeds,
    "http_head": http_head_seeds,
    "form": form_seeds,
}


def main() -> None:
    for target, seeds in TARGETS.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (folder / name).write_bytes(content)
        print(f"{target}: {len(list(folder.iterdir()))} files")


if __name__ == "__main__":
    main()
