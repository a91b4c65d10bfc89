"""What a token says of itself, as lines for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .captions import counted
from .token import Token


def describe_token(token: Token) -> str:
    """Word, vectors, and how it was made, as far as its metadata tells."""
    lines = [f"word: {token.word}"]
    for encoder, vectors in token.vectors.items():
        count, width = vectors.shape
        norms = ", ".join(f"{float(norm):.3f}" for norm in vectors.norm(dim=1))
        lines.append(f"{encoder}: {counted(count, 'vector')} of {width} numbers, norm {norms}")
    lines += [f"not read: {other}" for other in token.others]
    if "step" in token.metadata:
        lines.append(f"steps: {token.metadata['step']}")
    lines += _made_by(token.metadata.get("zoodip"))
    shown = ("word", "step", "finished", "zoodip", "format")
    lines += [f"{key}: {value}" for key, value in token.metadata.items() if key not in shown]
    return "\n".join(lines)


def _made_by(stored: str | None) -> list[str]:
    """Lines of the record that the engine keeps in a token file."""
    if stored is None:
        return ["made by: another tool, or unknown"]
    try:
        record = json.loads(stored)
    except ValueError:
        record = None
    if not isinstance(record, Mapping):
        return ["made by: ZOODiP; its record of how cannot be read"]
    told = {key: value for key, value in record.items() if key not in ("zoodip", "word")}
    lines = [f"made by: ZOODiP {record.get('zoodip', '(version unknown)')}"]
    return lines + [f"{key}: {_value(key, value)}" for key, value in told.items()]


def _value(key: str, value: Any) -> str:
    if key == "pictures" and isinstance(value, list):
        captions = [caption for picture in value for caption in _captions(picture)]
        different = "; ".join(dict.fromkeys(captions))
        return f"{len(value)}" + (f" ({different})" if different else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value('', part)}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _captions(picture: Any) -> list[str]:
    """Those of a record's picture; earlier versions kept one."""
    if not isinstance(picture, Mapping):
        return []
    found = picture.get("captions", [picture.get("caption")])
    listed = found if isinstance(found, list) else []
    return [caption for caption in listed if isinstance(caption, str)]
