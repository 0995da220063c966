"""`maskstream export onnx|openvino FOLDER`: the networks as files for programs that have no PyTorch."""

from __future__ import annotations

import re
from pathlib import Path

from maskstream.model.errors import ConfigError
from rich.console import Console

from .config import ModelConfig
from .console import EXIT_OK, paper, say
from .display import download_view
from .targets import cannot_write, check_folder


def export_command(file_format: str, target: str, image: str, model: ModelConfig) -> int:
    """Write the networks for images of one size, say how exact they are.

    Raises:
        InputError: the size makes no sense, the folder or the weights cannot be had, or a package is missing.
    """
    original_hw, folder = _image_hw(image), Path(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    check_folder(folder)
    from maskstream.model.checkpoint import load_model
    from maskstream.model.export import export_networks
    from maskstream.model.geometry import padded_hw_for, resized_hw_for
    from maskstream.model.weights import resolve

    with download_view(Console(stderr=True)) as progress:
        weights = resolve(model.weights, progress, lambda sentence: say(f"note: {sentence}"))
    input_hw = padded_hw_for(resized_hw_for(original_hw, model.size), pad_to_square=False)
    try:
        done = export_networks(load_model(weights), folder, file_format, input_hw)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for exported in done:
        gaps = ", ".join(f"{name} {gap:.1e}" for name, gap in exported.gaps.items())
        paper().print(f"{exported.path}: off from PyTorch by {gaps} at most", soft_wrap=True)
    return EXIT_OK


def _image_hw(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise ConfigError(f"--image {text}: give the images' size as WIDTHxHEIGHT, such as 1920x1080")
    return int(match[2]), int(match[1])
