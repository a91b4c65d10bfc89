"""CLIP's tokenizer for transformers, from the merges that the native one reads."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPTokenizer

MERGES = Path(__file__).resolve().parents[1] / "native" / "nn" / "data" / "clip_merges.txt"
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_alphabet() -> list[str]:
    """The 256 symbols that stand for bytes, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def build_tokenizer(padding: str = END) -> CLIPTokenizer:
    merges = [tuple(line.split(" ")) for line in MERGES.read_text("utf-8").split("\n")[:-1]]
    symbols = byte_alphabet()
    symbols += [symbol + "</w>" for symbol in symbols]
    symbols += ["".join(merge) for merge in merges] + [START, END]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=padding)
