"""Official MobileSAM checkpoints into our modules: read safely, translate keys, load strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from .errors import WeightsError
from .mobile_sam import MobileSam

StateDict = dict[str, Tensor]

# The encoder's classifier is in every official file and no part of SAM.
UNUSED_KEYS = re.compile(r"image_encoder\.(head|norm_head)\.|.*\.attention_bias_idxs$")
ADVICE = "give a MobileSAM checkpoint, or get one with `maskstream weights pull mobile_sam`"


def load_model(path: Path | str, device: torch.device | str = "cpu") -> MobileSam:
    """MobileSAM with the weights of a local file (.pt, .pth or .safetensors), ready to predict.

    Nothing in the file is executed.

    Raises:
        WeightsError: the file is missing, damaged, no checkpoint, or of another architecture.
    """
    path = Path(path)
    return build_model(read_state_dict(path), str(path)).to(device)


def build_model(state_dict: Mapping[str, Tensor], name: str = "state dict") -> MobileSam:
    """MobileSAM with the weights of a state dict in the official key layout.

    Raises:
        WeightsError: keys or shapes are another architecture's.
    """
    used = {key: value for key, value in state_dict.items() if not UNUSED_KEYS.match(key)}
    translated = {translate_key(key): value for key, value in used.items()}
    model = MobileSam()
    _check_fit(translated, model.state_dict(), name)
    model.load_state_dict(translated, strict=True)
    return model.eval().requires_grad_(False)


def translate_key(key: str) -> str:
    """The name that a tensor of the official layout has in our modules."""
    if not key.startswith("image_encoder.") or key.startswith("image_encoder.neck."):
        return key
    # There a layer's downsample closes it; in timm it opens the next stage.
    key = re.sub(r"\blayers\.(\d+)\.downsample\b", lambda m: f"stages.{int(m[1]) + 1}.downsample", key)
    key = re.sub(r"\blayers\.(\d+)\.blocks\b", r"stages.\1.blocks", key)
    key = re.sub(r"\bseq\.0\b", "conv1", key)
    key = re.sub(r"\bseq\.2\b", "conv2", key)
    return key.replace(".c.", ".conv.").replace("image_encoder.", "image_encoder.trunk.", 1)


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a .pt, .pth or .safetensors file, without running code from it.

    Raises:
        WeightsError: the file is missing, unreadable or holds something else.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {ADVICE}")
    read = _read_safetensors if path.suffix == ".safetensors" else _read_torch
    content = _read(read, path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]  # as training scripts save it
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, no state dict of tensors; {ADVICE}")
    return content


def _read(read: Callable[[Path], object], path: Path) -> object:
    try:
        return read(path)
    except Exception as error:  # half a dozen types for damaged files, in words for developers
        size = path.stat().st_size
        raise WeightsError(
            f"{path}: {size} bytes that cannot be read as a checkpoint; "
            f"the file is truncated or of another kind: {ADVICE}"
        ) from error


def _read_torch(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> object:
    from safetensors.torch import load_file  # comes with timm

    return load_file(path)


def _check_fit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> None:
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    misshapen = [
        f"{key} is {tuple(found[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    ]
    problems = [
        _summary("missing", missing),
        _summary("unexpected", unexpected),
        _summary("of another shape", misshapen),
    ]
    if any(problems):
        found_text = "; ".join(filter(None, problems))
        raise WeightsError(f"{name}: not MobileSAM's architecture: {found_text}; {ADVICE}")


def _summary(what: str, items: list[str], shown: int = 2) -> str:
    if not items:
        return ""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return f"{len(items)} {what} ({', '.join(items[:shown])}{more})"
