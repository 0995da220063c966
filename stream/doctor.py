"""`maskstream doctor`: what this machine has and what a run would use, to paste into a bug report."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.table import Table

from .config import ModelConfig
from .console import EXIT_BROKEN, EXIT_OK, paper

Report = dict[str, dict[str, str]]  # values by topic and name


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    name: str
    value: str
    is_fine: bool = True


def examine() -> list[Finding]:
    """Everything worth knowing; never raises for what is merely missing."""
    return [*_machine(), *_packages(), *_compute(), *_media(), *_weights()]


def stamp() -> Report:
    """What a measured figure depends on: the machine, the packages, and what computes."""
    return _report([*_machine(), *_packages(), *_torch()])


def doctor_command(*, as_json: bool) -> int:
    """Print the findings; 1 where something that a run needs is missing."""
    findings = examine()
    if as_json:
        sys.stdout.write(json.dumps(_report(findings)) + "\n")
    else:
        paper().print(_table(findings))
    return EXIT_OK if all(finding.is_fine for finding in findings) else EXIT_BROKEN


def _report(findings: list[Finding]) -> Report:
    report: Report = {}
    for finding in findings:
        report.setdefault(finding.topic, {})[finding.name] = finding.value
    return report


def _table(findings: list[Finding]) -> Table:
    table, topic = Table(box=None, show_header=False), ""
    for column in range(3):
        table.add_column(overflow="fold", no_wrap=column < 2)
    for finding in findings:
        style = None if finding.is_fine else "bold red"
        table.add_row(
            finding.topic if finding.topic != topic else "", finding.name, finding.value, style=style
        )
        topic = finding.topic
    return table


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "system", platform.platform())
    yield Finding("machine", "Python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("machine", "CPU", _cpu_name())
    yield Finding("machine", "CPU cores usable", str(_usable_cores()))


def _cpu_name() -> str:
    with suppress(OSError):  # Linux only; elsewhere Python knows
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if names:
            return str(names[0])
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only; containers are often given fewer cores
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _required_packages() -> list[str]:
    lines = metadata.requires("maskstream") or []
    # Those with a condition are extras, or not made for every kind of machine.
    return [match[0] for line in lines if ";" not in line and (match := re.match(r"[\w.-]+", line))]


def _packages() -> Iterator[Finding]:
    yield Finding("packages", "maskstream", metadata.version("maskstream"))
    for name in _required_packages():
        try:
            yield Finding("packages", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("packages", name, f"missing; pip install {name}", is_fine=False)
    yield Finding("packages", "openvino", _version_of("openvino", "makes runs on a CPU faster"))
    yield Finding(
        "packages", "onnxruntime", _version_of("onnxruntime", "onnxscript, for --engine onnxruntime")
    )


def _compute() -> Iterator[Finding]:
    from maskstream.model.engine_choice import choose_engine, engines_for
    from maskstream.model.predictor import resolve_device

    yield from _torch()
    device = resolve_device("auto")
    for kind in dict.fromkeys((device.type, "cpu")):
        yield Finding("compute", f"engines for {kind}", ", ".join(engines_for(resolve_device(kind))))
    engine = choose_engine("auto", device)
    yield Finding("compute", "a run uses", f"{device}, engine {engine}, size {ModelConfig().size} px")


def _version_of(package: str, what_for: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"not installed; pip install {package} {what_for}"


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("compute", "torch threads", str(torch.get_num_threads()))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding("compute", "CUDA devices", ", ".join(gpus) or "none")


def _media() -> Iterator[Finding]:
    import av
    import av.codec
    import zmq

    version = ".".join(map(str, av.library_versions.get("libavcodec", ())))
    yield Finding("media", "FFmpeg's libavcodec", version)
    for codec, what in (("libx264", "video=FILE.mp4"), ("libvpx-vp9", "video=FILE.webm")):
        has = codec in av.codec.codecs_available
        yield Finding("media", f"{codec} encoder ({what})", "yes" if has else "missing", is_fine=has)
    for name, what in (("rtsp", "RTSP cameras"), ("hls", "HLS streams")):
        has = name in av.formats_available
        yield Finding("media", what, "yes" if has else "missing", is_fine=has)
    yield Finding("media", "ZeroMQ", zmq.zmq_version())


def _weights() -> Iterator[Finding]:
    from maskstream.model import weights

    yield Finding("weights", "cache", str(weights.cache_folder()))
    for status in weights.list_weights():
        used = "; a run uses these" if status.is_default else ""
        is_fine = status.state is not weights.WeightsState.ALTERED
        yield Finding("weights", status.known.name, status.state.value + used, is_fine)
