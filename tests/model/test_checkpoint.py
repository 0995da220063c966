from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from maskstream.model.checkpoint import StateDict, build_model, load_model, read_state_dict, translate_key
from maskstream.model.errors import WeightsError
from maskstream.model.mobile_sam import MobileSam
from safetensors.torch import save_file


def _error(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "maskstream weights pull" in message
    return message


@pytest.fixture
def saved(tmp_path: Path, random_state_dict: StateDict) -> Path:
    torch.save(random_state_dict, tmp_path / "mobile_sam.pt")
    return tmp_path / "mobile_sam.pt"


def test_every_tensor_of_the_official_layout_has_its_place(random_state_dict: StateDict) -> None:
    used = {key for key in random_state_dict if "head." not in key or "iou_prediction_head" in key}
    assert len(random_state_dict) - len(used) == 4  # the classifier
    assert {translate_key(key) for key in used} == set(MobileSam().state_dict())


def test_a_loaded_model_has_the_file_s_values_and_is_ready(saved: Path, random_state_dict: StateDict) -> None:
    model = load_model(saved)
    for key, value in model.state_dict().items():
        source = next(k for k in random_state_dict if translate_key(k) == key)
        assert torch.equal(value, random_state_dict[source])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_safetensors_and_nested_state_dicts_load_too(tmp_path: Path, random_state_dict: StateDict) -> None:
    save_file(random_state_dict, tmp_path / "model.safetensors")
    torch.save({"model": random_state_dict, "epoch": 3}, tmp_path / "nested.pth")
    for name in ("model.safetensors", "nested.pth"):
        assert read_state_dict(tmp_path / name).keys() == random_state_dict.keys()


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in _error(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("kept", [0, 1000, 30_000_000])
def test_a_truncated_file(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    assert f"{kept} bytes that cannot be read as a checkpoint" in _error(saved)


@pytest.mark.parametrize("name", ["page.pt", "page.safetensors"])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("<!DOCTYPE html><html>404: Not Found</html>" * 10)
    assert "cannot be read as a checkpoint" in _error(path)


class _Trap:
    """Pickled, it would create a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap))])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, save: object) -> None:
    assert callable(save)
    save({"weight": _Trap(tmp_path / "trapped")}, tmp_path / "trap.pt")
    assert "cannot be read as a checkpoint" in _error(tmp_path / "trap.pt")
    assert not (tmp_path / "trapped").exists()


def test_something_else_that_torch_can_load(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pt")
    assert "holds a list, no state dict" in _error(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    assert "holds a dict, no state dict" in _error(tmp_path / "numbers.pt")


def test_another_architecture_is_told_by_its_keys(tmp_path: Path, random_state_dict: StateDict) -> None:
    rest = {key: value for key, value in random_state_dict.items() if not key.startswith("image_encoder.")}
    torch.save(rest | {"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, tmp_path / "sam_vit_b.pth")
    message = _error(tmp_path / "sam_vit_b.pth")
    assert "not MobileSAM's architecture" in message
    assert "missing (image_encoder." in message
    assert "1 unexpected (image_encoder.trunk.pos_embed)" in message
    assert "more)" in message
    assert len(message) < 600


def test_a_tensor_of_another_shape_is_named(random_state_dict: StateDict) -> None:
    key = "image_encoder.neck.0.weight"
    with pytest.raises(WeightsError, match=r"1 of another shape \(image_encoder.neck.0.weight is \(3,\),"):
        build_model(random_state_dict | {key: torch.zeros(3)}, "mine.pt")
