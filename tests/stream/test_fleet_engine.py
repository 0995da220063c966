"""One thread for the networks of several streams: what is encoded together, what first, whose fault it is."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from maskstream.model.engines import Engine
from maskstream.model.errors import EngineError
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
        self._wait("decode")
        return features, features


def pixels_of(value, hw=(2, 2)):
    return torch.full((1, 3, *hw), float(value))


@pytest.fixture
def serve():
    services, pools = [], [ThreadPoolExecutor(8)]

    def make(engine, gather_s=0.0):
        services.append(EngineService(engine, gather_s))
        return services[-1], pools[0].submit

    yield make
    for service in services:
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
    one, other = service.share(), service.share()
    begun, late = ask(service, submit, engine, [(one.encode, pixels_of(1)), (other.encode, pixels_of(2))])
    closing = submit(service.close)
    with pytest.raises(EngineError, match="were closed"):
        late.result(10)
    engine.go.release(10)
    assert torch.equal(begun.result(10)[0], 10 * pixels_of(1))
    closing.result(10)
    service.close()
    with pytest.raises(EngineError, match="were closed"):
        one.encode(pixels_of(3))
