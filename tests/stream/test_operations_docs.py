"""What docs/operations.md says is true."""

from __future__ import annotations

import ast
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from maskstream.model.device_memory import DeviceMemory
from maskstream.stream import metrics
from maskstream.stream.cli import build_parser
from maskstream.stream.config import Config
from maskstream.stream.health import Roster
from maskstream.stream.logs import LOG_LEVELS
from maskstream.stream.runner import prepare
from maskstream.stream.source_status import SourceCounts
from maskstream.stream.watchdog_settings import WatchdogConfig
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()
STATE = "maskstream_stream_state"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def rows(header):
    """Cells of the table whose head begins so."""
    (found,) = re.findall(rf"^\| {header}.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found.splitlines()]


def words(cell):
    return set(re.findall(r"`(\w+)`", cell))


@pytest.fixture
def exposed(segment_boxes, monkeypatch, tmp_path):
    """All that a run tells, as it stands in the answer: families with their samples."""
    monkeypatch.setattr(metrics, "device_memory", lambda: [DeviceMemory("cuda:0", 1, 2, 3, 4)])
    config = Config(
        source="synthetic:frames=3,width=64,height=48",
        prompts=("1:box=10,10,40,40",),
        sinks=[f"masks={tmp_path / 'm'}"],
    )
    roster = Roster()
    with prepare(config, roster=roster).pipeline as pipeline:
        pipeline.join()
    return list(parse(generate_latest(metrics.make_registry(roster)).decode()))


def test_every_metric_is_described_with_its_type_and_labels_and_no_other(exposed):
    described = {row[0].strip("`"): (row[1], words(row[2])) for row in rows("metric")}
    found = {}
    for family in exposed:
        if not family.name.startswith("maskstream_"):
            continue
        # The parser takes `_total` from a counter's name.
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = set().union(*(sample.labels for sample in family.samples)) - {"source", "le"}
        found[name] = (family.type, labels)
    assert found == described
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= {
        sample.name for family in exposed for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("maskstream_frames_dropped_total", "reason"),
        ("maskstream_masks_total", "how"),
        ("maskstream_objects", "state"),
        (STATE, STATE),
        ("maskstream_device_memory_bytes", "kind"),
    ],
)
def test_every_value_of_a_label_is_named(exposed, name, label):
    values = {sample.labels[label] for family in exposed for sample in family.samples if sample.name == name}
    (text,) = [row[3] for row in rows("metric") if row[0] == f"`{name}`"]
    assert words(text) == values


def test_every_kind_of_event_of_a_source_is_counted_and_described(exposed):
    kinds = {field.name for field in fields(SourceCounts)}
    assert {row[0].strip("`") for row in rows("`kind`")} == kinds
    assert kinds == {
        sample.labels["kind"]
        for family in exposed
        for sample in family.samples
        if sample.name == "maskstream_source_events_total"
    }


def logged():
    """Every event that is written in the code, with the names of its fields."""
    events = {"message": {"exception"}, "interrupted": set(), "error": set()}
    for path in (ROOT / "stream").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            place = {"log_event": 2, "self._log": 0}.get(ast.unparse(node.func))
            if place is None or len(node.args) <= place:
                continue
            names = {word.arg for word in node.keywords if word.arg} - {"source"}
            for event in constants(node.args[place]):
                events.setdefault(event, set()).update(names)
    return events


def constants(node):
    """The texts that an expression may be."""
    choices = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    return [one.value for one in choices if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def test_every_event_is_described_with_its_fields():
    found, described = logged(), {}
    for row in rows("`event`"):
        for event in words(row[0]):
            described[event] = row
    assert described.keys() == found.keys()
    for event, names in found.items():
        assert names <= words(described[event][3]), event


def test_the_line_that_is_shown_is_like_those_that_are_written():
    (line,) = blocks("json")
    assert list(json.loads(line))[:5] == ["time", "level", "event", "message", "source"]


def test_levels_and_settings_are_named():
    assert set(LOG_LEVELS) <= words(TEXT)
    for field in fields(WatchdogConfig):
        assert f"watchdog.{field.name}" in TEXT
    defaults = WatchdogConfig()
    assert f"`watchdog.after_s` ({defaults.after_s:g} s)" in TEXT
    assert f"`watchdog.first_frame_s` ({defaults.first_frame_s:g} s)" in TEXT


def commands():
    shell = "".join(blocks("sh")).splitlines()
    service = [line.partition("=")[2] for line in "".join(blocks("ini")).splitlines() if "Exec" in line]
    (container,) = re.findall(r"^CMD (\[.*\])", "".join(blocks("dockerfile")), re.MULTILINE)
    lines = [shlex.split(line) for line in [*shell, *service] if line.startswith("maskstream")]
    return [*lines, json.loads(container)]


@pytest.mark.parametrize("line", commands(), ids=" ".join)
def test_every_command_can_be_written(line):
    assert build_parser().parse_args(line[1:])


def test_what_prometheus_is_told_speaks_of_metrics_that_there_are(exposed):
    scrape, rules = map(yaml.safe_load, blocks("yaml"))
    assert scrape["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9464"]
    names = {sample.name for family in exposed for sample in family.samples}
    for rule in rules["groups"][0]["rules"]:
        used = set(re.findall(r"maskstream_\w+", rule["expr"]))
        assert used
        assert used <= names


def test_no_link_leads_nowhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
