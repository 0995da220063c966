"""A function of tensors whose shapes never change: recorded as a CUDA graph, then replayed at one launch."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

Work = Callable[..., tuple[Tensor, ...]]
_WARM_UPS = 3  # runs before the recording: libraries pick kernels and take memory in the first ones
# PyTorch records on one stream of the process; and who begins to, or compiles, waits for the whole device,
# which CUDA forbids while another thread records. Work that is not recorded goes on beside.
_RECORDING = threading.Lock()


class Replay:
    """Calls `work` on tensors of its own, into which its arguments are copied. One thread at a time.

    Args:
        work: without a branch on data; inference only.
        example: tensors of the shapes, types and device that all arguments will have.
        as_graph: record it, on CUDA; else it is called each time.
        pool: memory that recordings share which are never replayed at once; see torch.cuda.graph_pool_handle.
    """

    def __init__(self, work: Work, example: tuple[Tensor, ...], as_graph: bool, pool: object = None) -> None:
        self._work = work
        self._inputs = tuple(tensor.clone() for tensor in example)
        self._graph: torch.cuda.CUDAGraph | None = None
        if as_graph:
            with _RECORDING, torch.cuda.device_of(example[0]):  # type: ignore[no-untyped-call]
                self._warm_up()
                self._graph = self._recorded(pool)
        else:
            self._outputs = work(*self._inputs)  # what is compiled at the first call is compiled now

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """What `work` gives for these; the caller's own."""
        for own, given in zip(self._inputs, arguments, strict=True):
            own.copy_(given, non_blocking=True)
        if self._graph is None:
            self._outputs = self._work(*self._inputs)
            return self._outputs
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)

    def _warm_up(self) -> None:
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._work(*self._inputs)
        here.wait_stream(aside)

    def _recorded(self, pool: object) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: cameras are decoded and frames sent there.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # type: ignore[arg-type]
            self._outputs = self._work(*self._inputs)
        return graph
