"""When a device has come to a moment: at once on a CPU; a GPU's events have their say where there is one."""

from __future__ import annotations

import pytest
import torch
from maskstream.model.device_time import Moment


def test_a_cpu_s_moments_are_those_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1_000_000, 3_500_000])
    monkeypatch.setattr("time.monotonic_ns", lambda: next(times))
    earlier, later = (Moment(torch.device("cpu")) for _ in range(2))
    later.wait()
    assert later.ms_since(earlier) == 2.5


class Event:
    """In place of torch.cuda.Event: comes to pass when it is waited for."""

    made = 0

    def __init__(self, **options: bool) -> None:
        assert options == {"enable_timing": True, "blocking": True}
        Event.made += 1
        self.at_ms, self.is_past = 4.0 * Event.made, False

    def record(self, stream: str) -> None:
        assert stream == "the current one of cuda:1"

    def synchronize(self) -> None:
        self.is_past = True

    def elapsed_time(self, later: Event) -> float:
        assert later.is_past
        return later.at_ms - self.at_ms


def test_a_gpu_is_waited_for_when_it_is_asked_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the current one of {device}")
    earlier, later = (Moment(torch.device("cuda:1")) for _ in range(2))
    assert isinstance(later._event, Event)
    assert not later._event.is_past
    assert later.ms_since(earlier) == 4.0
    assert later._event.is_past


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_gpu() -> None:
    device = torch.device("cuda")
    some = torch.ones(4096, 4096, device=device)
    earlier = Moment(device)
    for _ in range(20):
        some = some @ some
    later = Moment(device)
    assert later.ms_since(earlier) > 0.1
