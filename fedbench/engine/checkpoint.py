"""A training state in one safetensors file: tensors, JSON-able facts, and a checksum over both. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedbench.files import write_atomic
from fedbench.reading import unreadable

CONTENT = "/content"  # an entry: the header of such a file holds 100 MB, and long curves of many clients are more


class CorruptCheckpoint(Exception):
    """The file is truncated, altered or not a checkpoint."""


def _checksum(tensors: Mapping[str, Tensor], facts: str) -> str:
    sha = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())  # as bytes: numpy knows no bfloat16
    return sha.hexdigest()


def _overlapping(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that begin within the memory of another one."""
    names, end = [], 0
    for name in sorted(tensors, key=lambda name: tensors[name].data_ptr()):
        start = tensors[name].data_ptr()
        if start < end:
            names.append(name)
        end = max(end, start + tensors[name].nbytes)
    return names


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write CPU ``tensors`` and plain ``facts`` atomically: the old file stays until the new one is whole.

    A tensor that appears under several names (the best round is often the last) is stored once.
    """
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, value in tensors.items():
        home = first.setdefault((value.data_ptr(), value.dtype, value.shape, value.stride()), name)
        if home == name:
            stored[name] = value.detach().contiguous()
        else:
            aliases[name] = home
    for name in _overlapping(stored):  # which safetensors refuses
        stored[name] = stored[name].clone()
    text = json.dumps({"facts": facts, "aliases": aliases})
    checksum = _checksum(stored, text)
    stored[CONTENT] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    write_atomic(path, lambda part: save_file(stored, part, {"sha256": checksum}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what :func:`save` wrote.

    Raises:
        CorruptCheckpoint: there is no such file, or the content does not match its checksum.
        UserError: it could not be read, which says nothing of what it holds.
    """
    try:
        open(path, "rb").close()  # safetensors says of any error of opening that there is no such file
    except FileNotFoundError as error:
        raise CorruptCheckpoint(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        with safe_open(path, "pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise CorruptCheckpoint(f"{path}: {error}") from None
    except (OSError, RuntimeError) as error:  # torch maps the file too
        raise unreadable(path, error) from None
    content = tensors.pop(CONTENT, None)
    text = metadata.get("content", "") if content is None else content.numpy().tobytes().decode(errors="replace")
    if metadata.get("sha256") != _checksum(tensors, text):
        raise CorruptCheckpoint(f"{path}: content does not match its checksum")
    try:
        found = json.loads(text)
        aliased = {name: tensors[home] for name, home in found["aliases"].items()}
        return {**tensors, **aliased}, found["facts"]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):  # sealed by somebody else
        raise CorruptCheckpoint(f"{path}: content is no checkpoint") from None
