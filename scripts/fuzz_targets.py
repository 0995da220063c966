"""Whom scripts/fuzz_messages.py sends to: `python fuzz_targets.py run|consumer ENDPOINT`."""

import json
import sys
import time
from types import SimpleNamespace
from typing import Any

from fuzz_strategies import BOXES, HW, as_object
from maskstream.model.types import ObjectMask, Prompt, RgbImage
from maskstream.stream import wire
from maskstream.stream.client import Subscriber
from maskstream.stream.config import Config


class Still:
    """In place of networks and tracker: objects stay where they are shown."""

    device = SimpleNamespace(type="cpu")

    def __init__(self) -> None:
        self.objects = {i: as_object(i, box) for i, box in BOXES.items()}

    def encode(self, image: RgbImage) -> None:
        """Takes a little time, as networks do."""
        time.sleep(0.001)

    def step(
        self, image: RgbImage, embedding: None, prompts: list[Prompt], time_s: float
    ) -> tuple[ObjectMask, ...]:
        """Begins what is shown; says where all are."""
        for prompt in prompts:
            self.objects[prompt.object_id] = as_object(prompt.object_id, (0, 0, 9, 9))
        return tuple(self.objects[i] for i in sorted(self.objects))

    def remove(self, object_id: int) -> None:
        """As the tracker's."""
        del self.objects[object_id]

    def rename(self, object_id: int, new_id: int) -> None:
        """As the tracker's."""
        self.objects[new_id] = self.objects.pop(object_id)


def be_a_run(endpoint: str) -> None:
    """A run with a control channel, until it is ended."""
    # Here and not above: PyTorch's memory would hide what a consumer's does.
    from maskstream.stream import runner
    from maskstream.stream.segmenter import Segmenter

    def load(config: Config, inputs: Any, *more: object) -> Segmenter:
        still: Any = Still()
        return Segmenter(still, still, inputs.agenda)

    setattr(runner, "_load_segmenter", load)  # noqa: B010
    source = f"synthetic:scene=still,objects=1,frames=100000000,width={HW[1]},height={HW[0]}"
    with runner.prepare(Config(source=source, control=endpoint)).pipeline as pipeline:
        print("ready", flush=True)
        pipeline.join()


def be_a_consumer(endpoint: str) -> None:
    """Decodes all that is published; says the PTS of every status from `checkpoint`."""
    with Subscriber(endpoint, follow=True, hwm=0) as masks:
        print("ready", flush=True)
        seen: wire.Status | None = None
        while True:
            try:
                frame = masks.receive(timeout_s=0.05)
                for found in frame.objects if frame is not None else ():
                    found.mask()
            except wire.WireError:
                pass  # another version, or a damaged mask
            if masks.status is not None and masks.status is not seen and masks.status.reason == "checkpoint":
                seen = masks.status
                print(json.dumps({"pts": seen.pts, "damaged": masks.damaged}), flush=True)


if __name__ == "__main__":
    {"run": be_a_run, "consumer": be_a_consumer}[sys.argv[1]](sys.argv[2])
