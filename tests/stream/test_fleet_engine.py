"""One thread for the networks of several streams: what is encoded together, what first, whose fault it is."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from maskstream.model.cuda_engine import CudaEngine
from maskstream.model.device_time import Moment
from maskstream.model.engines import Engine, TorchEngine
from maskstream.model.errors import EngineError
from maskstream.model.mask_decoder import ALL_MASKS, MULTIMASK
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.prompt_encoder import PromptBatch
from maskstream.stream.fleet_engine import EngineService


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Slow:
    """An engine that writes down what it is asked, and does it when it is let."""

    name, tolerance, prepares_aside = "slow", 0.0, True

    def __init__(self, most_images=1):
        self.most_images, self.log, self.go = most_images, [], threading.Semaphore(0)
        self.threads = set()

    def _wait(self, what):
        self.threads.add(threading.current_thread().name)
        self.log.append(what)
        assert self.go.acquire(timeout=10)

    def prepare(self, input_hw, images=1):
        self.log.append(("prepare", input_hw))

    def encode(self, pixels):
        self._wait(pixels[:, 0, 0, 0].tolist())
        if (pixels < 0).any():
            raise EngineError("a bad picture")
        return 10 * pixels, 100 * pixels

    def decode(self, features, prompts, outputs):
        """Of each prompt its image's values and its own."""
        self._wait("decode" if prompts is None else f"decode {values_of(features)} at {prompts_of(prompts)}")
        if (features < 0).any():
            raise EngineError("a bad embedding")
        if prompts is None:
            return features, features
        own = prompts.pick_images(features).expand(len(prompts.labels), -1, -1, -1)
        return own, prompts.points_xy[:, 0]


def values_of(features):
    return "".join(f"{value:.0f}" for value in features[:, 0, 0, 0])


def prompts_of(prompts):
    return "".join(f"{value:.0f}" for value in prompts.points_xy[:, 0, 0])


def prompts_at(*places, tokens=2):
    points_xy = torch.tensor(places)[:, None, None].expand(-1, tokens, 2).float()
    return PromptBatch(points_xy, torch.ones(len(places), tokens, dtype=torch.int64))


def pixels_of(value, hw=(2, 2)):
    return torch.full((1, 3, *hw), float(value))


@pytest.fixture
def serve():
    services, pools = [], [ThreadPoolExecutor(16)]

    def make(engine, gather_s=0.0, **more):
        services.append(EngineService(engine, gather_s, **more))
        return services[-1], pools[0].submit

    yield make
    for service in services:
        if isinstance(service.engine, Slow):
            service.engine.go.release(1000)
        service.close()
    pools[0].shutdown()


def waiting(service):
    return len(service._frames) + len(service._tasks)


def ask(service, submit, engine, jobs):
    """The first job is begun; the others wait, in this order. Futures for all."""
    futures = []
    for place, job in enumerate(jobs):
        futures.append(submit(*job))
        wait_until(lambda place=place: len(calls(engine)) == 1 and waiting(service) == place)
    return futures


def calls(engine):
    return [what for what in engine.log if not isinstance(what, tuple)]


def test_it_is_an_engine(serve):
    service, _ = serve(Slow())
    engine: Engine = service.share()
    engine.prepare((32, 32))
    assert (engine.name, service.engine.log) == ("slow", [("prepare", (32, 32))])


def test_frames_that_wait_are_encoded_together_in_order_and_each_gets_its_own(serve):
    engine = Slow(most_images=3)
    service, submit = serve(engine)
    shares = [service.share() for _ in range(6)]
    futures = ask(service, submit, engine, [(share.encode, pixels_of(i)) for i, share in enumerate(shares)])
    engine.go.release(10)
    for i, future in enumerate(futures):
        features, detail = future.result(10)
        assert torch.equal(features, 10 * pixels_of(i))
        assert torch.equal(detail, 100 * pixels_of(i))
    assert calls(engine) == [[0.0], [1.0, 2.0, 3.0], [4.0, 5.0]]
    assert len(engine.threads) == 1


def test_pictures_of_other_sizes_are_encoded_apart_and_keep_their_order(serve):
    engine = Slow(most_images=4)
    service, submit = serve(engine)
    shares = [service.share() for _ in range(5)]
    sizes = [(2, 2), (4, 2), (2, 2), (4, 2), (2, 2)]
    jobs = [(share.encode, pixels_of(i, hw)) for i, (share, hw) in enumerate(zip(shares, sizes, strict=True))]
    futures = ask(service, submit, engine, jobs)
    engine.go.release(10)
    assert [future.result(10)[0].shape[2:] for future in futures] == sizes
    assert calls(engine) == [[0.0], [1.0, 3.0], [2.0, 4.0]]


def test_what_was_begun_is_finished_first(serve):
    engine = Slow()
    service, submit = serve(engine)
    one, other = service.share(), service.share()
    jobs = [(one.encode, pixels_of(1)), (other.encode, pixels_of(2)), (one.decode, pixels_of(3), None)]
    futures = ask(service, submit, engine, jobs)
    engine.go.release(10)
    assert torch.equal(futures[2].result(10)[0], pixels_of(3))
    futures[1].result(10)
    assert calls(engine) == [[1.0], "decode", [2.0]]


def test_one_stream_s_bad_picture_is_not_the_others_fault(serve):
    engine = Slow(most_images=3)
    service, submit = serve(engine)
    shares = [service.share() for _ in range(4)]
    values = [0, 1, -2, 3]
    futures = ask(
        service, submit, engine, [(s.encode, pixels_of(v)) for s, v in zip(shares, values, strict=True)]
    )
    engine.go.release(10)
    assert torch.equal(futures[1].result(10)[0], 10 * pixels_of(1))
    assert torch.equal(futures[3].result(10)[0], 10 * pixels_of(3))
    with pytest.raises(EngineError, match="a bad picture"):
        futures[2].result(10)
    assert calls(engine) == [[0.0], [1.0, -2.0, 3.0], [1.0], [-2.0], [3.0]]


def ask_decoding(service, submit, engine, jobs):
    """While a frame is encoded these wait to be decoded, in this order. Futures for all of them."""
    frame = (service.share().encode, pixels_of(9))
    return ask(service, submit, engine, [frame, *((service.share().decode, *job) for job in jobs)])[1:]


def test_prompts_that_wait_are_decoded_together_in_order_and_each_gets_its_own(serve):
    engine = Slow(most_images=3)
    service, submit = serve(engine)
    places = [(1, 2), (3,), (4, 5, 6), (7,), (8, 9)]
    jobs = [(pixels_of(i), prompts_at(*here), ALL_MASKS) for i, here in enumerate(places)]
    futures = ask_decoding(service, submit, engine, jobs)
    engine.go.release(10)
    for i, (future, here) in enumerate(zip(futures, places, strict=True)):
        of_images, of_prompts = future.result(10)
        assert torch.equal(of_images, pixels_of(i).expand(len(here), -1, -1, -1))
        assert of_prompts[:, 0].tolist() == list(here)
    assert calls(engine) == [[9.0], "decode 012 at 123456", "decode 34 at 789"]


def test_where_nothing_is_gained_prompts_are_decoded_one_stream_after_the_other(serve):
    engine = Slow(most_images=1)
    service, submit = serve(engine)
    futures = ask_decoding(
        service, submit, engine, [(pixels_of(i), prompts_at(i), ALL_MASKS) for i in (1, 2)]
    )
    engine.go.release(10)
    assert all(future.result(10) for future in futures)
    assert calls(engine) == [[9.0], "decode 1 at 1", "decode 2 at 2"]


def test_what_cannot_be_decoded_together_is_not(serve):
    engine = Slow(most_images=8)
    service, submit = serve(engine)
    jobs = [
        (pixels_of(0), prompts_at(0), ALL_MASKS),
        (pixels_of(1, (4, 2)), prompts_at(1), ALL_MASKS),  # another grid
        (pixels_of(2), prompts_at(2, tokens=4), ALL_MASKS),
        (pixels_of(3), prompts_at(3), MULTIMASK),
        (torch.cat([pixels_of(4), pixels_of(5)]), prompts_at(4, 5), ALL_MASKS),  # images of its own
        (torch.cat([pixels_of(6), pixels_of(7)]), prompts_at(6, 7), ALL_MASKS),
        (pixels_of(8), prompts_at(8), ALL_MASKS),
        (pixels_of(9, (4, 2)), prompts_at(9), ALL_MASKS),
    ]
    futures = ask_decoding(service, submit, engine, jobs)
    engine.go.release(20)
    given = [[0], [1], [2], [3], [4, 5], [6, 7], [8], [9]]
    assert [future.result(10)[1][:, 0].tolist() for future in futures] == given
    asked = ["08 at 08", "19 at 19", "2 at 2", "3 at 3", "45 at 45", "67 at 67"]
    assert calls(engine)[1:] == [f"decode {what}" for what in asked]


def test_one_stream_s_bad_embedding_is_not_the_others_fault(serve):
    engine = Slow(most_images=3)
    service, submit = serve(engine)
    jobs = [(pixels_of(i), prompts_at(abs(i)), ALL_MASKS) for i in (1, -2, 3)]
    futures = ask_decoding(service, submit, engine, jobs)
    engine.go.release(10)
    assert torch.equal(futures[0].result(10)[0], pixels_of(1))
    assert torch.equal(futures[2].result(10)[0], pixels_of(3))
    with pytest.raises(EngineError, match="a bad embedding"):
        futures[1].result(10)
    asked = ["1-23 at 123", "1 at 1", "-2 at 2", "3 at 3"]
    assert calls(engine)[1:] == [f"decode {what}" for what in asked]


class Gpu:
    """Takes work at once, and has done it when it is let."""

    def __init__(self):
        self.given, self.go = 0, threading.Semaphore(0)

    def moment(self):
        self.given += 1
        return self

    def wait(self):
        assert self.go.acquire(timeout=10)


def test_while_the_gpu_is_busy_work_waits_where_it_is_joined_and_put_in_order(serve):
    engine, gpu = Slow(most_images=8), Gpu()
    engine.go.release(1000)
    service, submit = serve(engine, moment=gpu.moment)
    shares = [service.share() for _ in range(7)]
    shares[0].encode(pixels_of(0))
    shares[1].encode(pixels_of(1))  # one is begun, one is ahead
    wait_until(lambda: gpu.given == 2)
    late = [submit(shares[2].encode, pixels_of(2)), submit(shares[3].encode, pixels_of(3))]
    late += [submit(shares[i].decode, pixels_of(i), prompts_at(i), ALL_MASKS) for i in (4, 5, 6)]
    wait_until(lambda: waiting(service) == 5)
    assert calls(engine) == [[0.0], [1.0]]
    gpu.go.release(1000)
    assert all(future.result(10) for future in late)
    *before, decoded, encoded = calls(engine)
    assert before == [[0.0], [1.0]]
    assert sorted(decoded.split()[1]) == ["4", "5", "6"]
    assert sorted(encoded) == [2.0, 3.0]


def test_a_gpu_that_fails_is_told_by_the_next_frame_and_not_by_silence(serve):
    def moment():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine = Slow()
    engine.go.release(10)
    service, submit = serve(engine, moment=moment)
    share = service.share()
    for value in (1, -2, 3):
        answer = submit(share.encode, pixels_of(value))
        if value < 0:
            with pytest.raises(EngineError, match="a bad picture"):
                answer.result(10)
        else:
            assert answer.result(10)


def test_masks_are_those_that_each_stream_would_get_alone(serve):
    torch.manual_seed(0)
    engine, gpu = CudaEngine(MobileSam().eval(), torch.float32, compiled=False), Gpu()
    asked = []
    plain_decode = engine.decode
    engine.decode = lambda features, *more: asked.append(len(features)) or plain_decode(features, *more)
    service, submit = serve(engine, moment=gpu.moment)
    streams = [
        (torch.randn(1, 256, 2, 4), prompts_at(*range(1, 8 * count, 8)), ALL_MASKS) for count in (1, 3, 2)
    ]
    alone = [plain_decode(*job) for job in streams]
    service.share().decode(*streams[0])
    service.share().decode(*streams[1])
    wait_until(lambda: gpu.given == 2)
    futures = [submit(service.share().decode, *job) for job in streams]
    wait_until(lambda: waiting(service) == 3)
    gpu.go.release(1000)
    for future, expected in zip(futures, alone, strict=True):
        for found, wanted in zip(future.result(10), expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert asked == [1, 1, 3]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_gpu_each_stream_gets_its_own_masks_round_after_round(serve):
    torch.manual_seed(0)
    device, hw = torch.device("cuda"), (96, 160)
    networks = MobileSam().eval().requires_grad_(False).to(device)
    engine, plain = CudaEngine(networks, compiled=False), TorchEngine(networks)
    service, submit = serve(engine, gather_s=0.002, streams=4, moment=partial(Moment, device))
    service.prepare(hw)
    recorded = len(engine._decoders)
    pixels = torch.randn(4, 3, *hw, device=device)
    features = torch.randn(4, 256, hw[0] // 16, hw[1] // 16, device=device)
    prompts = [prompts_at(*range(9, 9 + 8 * count, 8)) for count in (1, 3, 2, 4)]
    prompts = [PromptBatch(each.points_xy.to(device), each.labels.to(device)) for each in prompts]
    expected = [plain.decode(features[i : i + 1], each, ALL_MASKS)[0].cpu() for i, each in enumerate(prompts)]

    def play(i, share):
        for _ in range(50):
            share.encode(pixels[i : i + 1])
            logits, _ = share.decode(features[i : i + 1], prompts[i], ALL_MASKS)
        share.close()
        return logits.cpu()

    rounds = [submit(play, i, service.share()) for i in range(4)]
    for answer, wanted in zip(rounds, expected, strict=True):
        assert float((answer.result(60) - wanted).norm() / wanted.norm()) < engine.tolerance
    assert len(engine._decoders) == recorded


def test_a_frame_waits_for_company_only_while_there_may_be_any(serve):
    engine = Slow(most_images=4)
    service, submit = serve(engine, gather_s=60.0)
    one, other = service.share(), service.share()
    first = submit(one.encode, pixels_of(1))
    wait_until(lambda: waiting(service) == 1)
    assert not calls(engine)
    second = submit(other.encode, pixels_of(2))
    engine.go.release(10)
    assert first.result(10) and second.result(10)
    assert calls(engine) == [[1.0, 2.0]]
    other.close()
    other.close()
    one.encode(pixels_of(3))  # or it would wait for a minute
    assert calls(engine) == [[1.0, 2.0], [3.0]]


def test_what_is_decoded_meanwhile_does_not_make_a_frame_wait_longer_for_company(serve):
    now_s = [100.0]
    engine = Slow(most_images=4)
    service, submit = serve(engine, gather_s=60.0, clock=lambda: now_s[0])
    one, other, _ = service.share(), service.share(), service.share()
    frame = submit(one.encode, pixels_of(1))
    wait_until(lambda: waiting(service) == 1)
    decoded = submit(other.decode, pixels_of(2), prompts_at(2), ALL_MASKS)
    wait_until(lambda: calls(engine) == ["decode 2 at 2"])
    now_s[0] += 60
    engine.go.release(10)
    assert decoded.result(10) and frame.result(10)  # or it would wait for another minute


def test_a_new_size_is_got_ready_for_beside_the_others(serve):
    engine = Slow()
    service, submit = serve(engine)
    one, other = service.share(), service.share()
    busy = submit(one.encode, pixels_of(1))
    wait_until(lambda: calls(engine) == [[1.0]])
    late = submit(other.encode, pixels_of(2, (4, 4)))
    wait_until(lambda: ("prepare", (4, 4)) in engine.log)  # while the first one is still at work
    assert not busy.done()
    engine.go.release(10)
    late.result(10)


def test_an_engine_that_cannot_do_both_gets_ready_in_its_own_thread(serve):
    engine = Slow()
    engine.prepares_aside = False
    service, submit = serve(engine)
    one, other = service.share(), service.share()
    busy = submit(one.encode, pixels_of(1))
    wait_until(lambda: calls(engine) == [[1.0]])
    late = submit(other.prepare, (4, 4))
    wait_until(lambda: waiting(service) == 1)
    assert ("prepare", (4, 4)) not in engine.log
    engine.go.release(10)
    assert busy.result(10) and late.result(10) is None
    assert ("prepare", (4, 4)) in engine.log


def test_after_the_end_nobody_waits(serve):
    engine = Slow()
    service, submit = serve(engine)
    one, other, third = service.share(), service.share(), service.share()
    jobs = [(one.encode, pixels_of(1)), (other.encode, pixels_of(2))]
    jobs.append((third.decode, pixels_of(3), prompts_at(3), ALL_MASKS))
    begun, *late = ask(service, submit, engine, jobs)
    closing = submit(service.close)
    for answer in late:
        with pytest.raises(EngineError, match="were closed"):
            answer.result(10)
    engine.go.release(10)
    assert torch.equal(begun.result(10)[0], 10 * pixels_of(1))
    closing.result(10)
    service.close()
    with pytest.raises(EngineError, match="were closed"):
        one.encode(pixels_of(3))
