"""Runs every clip of a folder to annotated video and mask files: is any frame lost, doubled or moved in time?

The clips are decoded a second time, by plain PyAV, and compared with what came out: as many frames, the same
PTS to the tick, and each annotated picture more like its own original than like the one before or after it.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from maskstream.stream.cli import main as maskstream
from numpy.typing import NDArray

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"
PROMPT = "1:box=35%,35%,65%,65%"
SUFFIXES = (".mp4", ".avi", ".mkv", ".mov")
THUMBNAIL_WH = (64, 36)
TOLERANCE = 0.5  # grey levels of 255: drawn masks and lossy coding add more to one difference than to another


@dataclass(frozen=True)
class Film:
    """What a video file shows, and when."""

    times_s: list[Fraction]
    thumbnails: NDArray[np.int16]  # (frames, height, width) grey


@dataclass(frozen=True)
class Outcome:
    """One clip's way through the program."""

    name: str
    frames_in: int
    frames_out: int
    lines: int
    pictures: int
    seconds: float  # of the whole run, loading the networks included
    faults: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check all clips, print a line for each; 1 if any is at fault."""
    options = parse(arguments)
    clips = sorted(path for path in options.folder.glob("*") if path.suffix in SUFFIXES)
    if not clips:
        print(f"no clips in {options.folder}", file=sys.stderr)
        return 2
    print(f"{'clip':<32}{'in':>6}{'video':>7}{'lines':>7}{'png':>6}{'frames/s':>10}  result")
    outcomes = [check_clip(clip, options.size, options.engine, options.max_frames, show) for clip in clips]
    bad = sum(bool(outcome.faults) for outcome in outcomes)
    total = sum(outcome.frames_in for outcome in outcomes)
    print(f"{len(clips)} clips, {total} frames, {bad or 'none'} at fault")
    return 1 if bad else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What to check."""
    parser = argparse.ArgumentParser(prog="scripts/check_clips", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=CLIPS, metavar="DIR")
    parser.add_argument("--size", type=int, default=256, help="model input, px")
    parser.add_argument("--engine", default="auto", help="what runs the networks: auto, torch or openvino")
    parser.add_argument("--max-frames", type=int, metavar="N", help="only the first N frames of each clip")
    return parser.parse_args(arguments)


def show(outcome: Outcome) -> None:
    """One line of the table."""
    counts = f"{outcome.frames_in:>6}{outcome.frames_out:>7}{outcome.lines:>7}{outcome.pictures:>6}"
    rate = outcome.frames_in / outcome.seconds
    print(f"{outcome.name:<32}{counts}{rate:>10.1f}  {'; '.join(outcome.faults) or 'ok'}", flush=True)


def check_clip(
    clip: Path,
    size: int,
    engine: str,
    max_frames: int | None,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Run one clip into a temporary folder and compare."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        began_s = time.monotonic()
        problem = run(clip, out, size, engine, max_frames)
        seconds = time.monotonic() - began_s
        if problem:
            outcome = Outcome(clip.name, 0, 0, 0, 0, seconds, [problem])
        else:
            outcome = compare(clip, out, max_frames, seconds)
    report(outcome)
    return outcome


def run(clip: Path, out: Path, size: int, engine: str, max_frames: int | None) -> str | None:
    """Track something through the clip by the command line; what went wrong, if anything."""
    line = ["run", "--source", str(clip), "--prompt", PROMPT, "--json"]
    line += ["--size", str(size), "--engine", engine]
    line += ["--sink", f"video={out / 'video.mp4'}", "--sink", f"masks={out / 'masks'}"]
    line += ["--max-frames", str(max_frames)] if max_frames else []
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = maskstream(line)
    return f"exit code {code}: {stderr.getvalue().strip()}" if code else None


def compare(clip: Path, out: Path, max_frames: int | None, seconds: float) -> Outcome:
    """What the outputs in `out` hold of the clip."""
    original, video = read_film(clip, max_frames), read_film(out / "video.mp4", None)
    base = Fraction(*json.loads((out / "masks" / "stream.json").read_text())["time_base"])
    lines = [json.loads(text) for text in (out / "masks" / "masks.jsonl").read_text().splitlines()]
    numbers = sorted(int(path.stem) for path in (out / "masks" / "png").glob("*/*.png"))
    faults = [
        *count_faults("video", len(video.times_s), len(original.times_s)),
        *count_faults("lines", len(lines), len(original.times_s)),
        *time_faults("video", video.times_s, original.times_s),
        *time_faults("lines", [line["pts"] * base for line in lines], original.times_s),
        *picture_faults(video, original),
    ]
    if [line["index"] for line in lines] != list(range(len(original.times_s))):
        faults.append("lines: the indices are not 0, 1, 2, ...")
    if numbers != list(range(len(original.times_s))):
        faults.append(f"png: {len(numbers)} pictures, not one for each frame")
    counts = len(original.times_s), len(video.times_s), len(lines), len(numbers)
    return Outcome(clip.name, *counts, seconds, faults)


def count_faults(what: str, found: int, expected: int) -> Iterator[str]:
    """Frames that are missing or too many."""
    if found != expected:
        yield f"{what}: {found} frames instead of {expected}"


def time_faults(what: str, found: Sequence[Fraction], expected: Sequence[Fraction]) -> Iterator[str]:
    """The first frame that is shown at another time than its original."""
    for number, (time_s, true_s) in enumerate(zip(found, expected, strict=False)):
        if time_s != true_s:
            yield f"{what}: frame {number} is at {float(time_s):.6f} s, not at {float(true_s):.6f} s"
            return


def picture_faults(video: Film, original: Film) -> Iterator[str]:
    """The first picture that is more like its original's neighbour: a frame was doubled or skipped."""
    count = min(len(video.thumbnails), len(original.thumbnails))
    for number in range(count):
        neighbours = range(max(0, number - 1), min(count, number + 2))
        found = {i: difference(video.thumbnails[number], original.thumbnails[i]) for i in neighbours}
        nearest = min(found, key=found.__getitem__)
        if found[number] > found[nearest] + TOLERANCE:
            yield f"video: picture {number} shows frame {nearest}"
            return


def difference(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """Mean absolute difference in grey levels, but for brightness as a whole: RGB and back shift it."""
    change = one - other
    return float(np.abs(change - change.mean()).mean())


def read_film(path: Path, max_frames: int | None) -> Film:
    """All frames of a file, by plain PyAV."""
    times_s: list[Fraction] = []
    thumbnails: list[NDArray[np.int16]] = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in islice(container.decode(video=0), max_frames):
            assert frame.pts is not None and frame.time_base is not None
            times_s.append(frame.pts * frame.time_base)
            small = frame.reformat(*THUMBNAIL_WH, format="gray", interpolation="AREA")
            thumbnails.append(small.to_ndarray().astype(np.int16))
    return Film(times_s, np.array(thumbnails))


if __name__ == "__main__":
    sys.exit(main())
