"""The wheel holds what the folders hold, what is imported is declared, and imports point down, never up."""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("model", "stream", "configs")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Who may use what, beyond the rules that hold for a whole folder.
ONLY_IN = {
    "av": {"stream/av_*.py", "stream/video_sink.py", "stream/doctor.py"},
    "zmq": {f"stream/{name}.py" for name in ("zmq_*", "client", "control_*", "keys", "doctor")},
    "msgpack": {"stream/wire_fields.py"},
    "yaml": {"stream/yaml_lines.py"},
    "rich": {"stream/cli*.py", "stream/console.py", "stream/display.py", "stream/doctor.py"},
    "torch": {"model/*.py", "stream/doctor.py", "stream/bench_contenders.py", "stream/fleet_engine.py"},
    "timm": {"model/tiny_vit.py", "model/half_model.py"},
    "openvino": {"model/openvino_*.py"},
    "onnxruntime": {"model/onnx_build.py"},
    "urllib.request": {"model/download.py"},
    "prometheus_client": {"stream/metrics.py", "stream/metrics_server.py"},
}
NOT_IN_MODEL = {"maskstream.stream", "av", "zmq", "queue", "threading", "multiprocessing", "socket", "rich"}
ALLOWED_IN_MODEL = {"cuda_replay.py": {"threading"}}  # a lock: a process records one CUDA graph at a time
# One stage calls the model, and so does scoring; the others load it, list its weights or show them coming.
# All else in stream/, above all sources, sinks and the pipeline, knows only its types and its errors.
CALLS_THE_MODEL = (
    "segmenter",
    "ladder*",
    "fleet_engine",
    "fleet_networks",
    "metrics_device",
    "scaling",
    "bench_contenders",
    "bench_jobs",
    "bench_streams",
    "cli_bench",
    "evaluate*",
    "runner",
    "doctor",
    "display",
    "cli_check",
    "cli_export",
    "cli_weights",
)
OF_THE_MODEL = {"maskstream.model.types", "maskstream.model.errors"}


def modules() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imports_of(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever in the file."""
    package = ["maskstream", *path.relative_to(ROOT).parts[:-1]]
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def uses(imported: set[str], module: str) -> bool:
    return any(name == module or name.startswith(module + ".") for name in imported)


def own_modules() -> dict[str, set[str]]:
    """Each module of ours, and those of ours that it imports."""
    paths = {
        ".".join(["maskstream", *path.relative_to(ROOT).with_suffix("").parts]): path for path in modules()
    }
    return {name: imports_of(path) & paths.keys() for name, path in paths.items()}


def test_every_folder_with_code_is_listed_for_the_wheel() -> None:
    on_disk = {".".join(["maskstream", *path.parent.relative_to(ROOT).parts]) for path in modules()}
    settings = PROJECT["tool"]["setuptools"]
    assert set(settings["packages"]) == on_disk
    assert settings["package-dir"] == {name: name.partition(".")[2].replace(".", "/") for name in on_disk}


def test_the_wheel_holds_every_file_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"maskstream/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".typed", ".yaml") and path.is_file()
    }
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {f"maskstream/{folder}/py.typed" for folder in FOLDERS} <= found
    assert any(name.endswith(".yaml") for name in found)


def test_the_wheel_says_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    texts = {Path(name).name: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name}
    assert "License-Expression: Apache-2.0" in texts["METADATA"]
    assert "Apache License" in texts["LICENSE"]
    assert "maskstream = maskstream.stream.program:main" in texts["entry_points.txt"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Built from a copy, so that nothing lands in the working tree and no stale build folder joins in."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, dist], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", text)[0].lower().replace("_", "-") for text in requirements}


def test_what_is_imported_is_declared() -> None:
    declared = requirement_names(PROJECT["project"]["dependencies"])
    declared |= requirement_names(sum(PROJECT["project"]["optional-dependencies"].values(), []))
    providers = importlib.metadata.packages_distributions()
    for path in modules():
        for name in {name.partition(".")[0] for name in imports_of(path)} - sys.stdlib_module_names:
            distributions = {found.lower().replace("_", "-") for found in providers.get(name, [name])}
            assert name == "maskstream" or distributions & declared, f"{path.relative_to(ROOT)}: {name}"


def test_what_is_declared_is_pinned_for_the_tests() -> None:
    pinned = {}
    for line in (ROOT / "scripts" / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pinned[name.lower()] = version
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = requirement_names([*PROJECT["project"]["dependencies"], *extras["test"], *extras["dev"]])
    assert pinned.keys() == wanted


def test_nothing_imports_the_folders_by_their_bare_names() -> None:
    # `import model` would make a second copy of every class.
    for path in [*modules(), *ROOT.glob("tests/**/*.py"), *ROOT.glob("scripts/**/*.py")]:
        tops = {name.partition(".")[0] for name in imports_of(path)}
        assert not tops & {*FOLDERS, "tests", "scripts"}, path.relative_to(ROOT)


def test_no_import_goes_in_a_circle() -> None:
    graph = {name: imported - {name} for name, imported in own_modules().items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_the_model_knows_no_streams() -> None:
    for path in sorted((ROOT / "model").rglob("*.py")):
        imported = imports_of(path)
        allowed = ALLOWED_IN_MODEL.get(path.name, set())
        assert not [name for name in NOT_IN_MODEL - allowed if uses(imported, name)], path.name


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_used_in_its_own_files_only(library: str) -> None:
    users = {path.relative_to(ROOT) for path in modules() if uses(imports_of(path), library)}
    strangers = {path for path in users if not any(path.match(pattern) for pattern in ONLY_IN[library])}
    assert users, f"nothing uses {library}: is this rule out of date?"
    assert not strangers


def test_stages_know_only_types_and_errors_of_the_model() -> None:
    callers = {
        name.removeprefix("maskstream.stream.")
        for name, imported in own_modules().items()
        if name.startswith("maskstream.stream.") and uses(imported - OF_THE_MODEL, "maskstream.model")
    }
    assert not [name for name in callers if not any(fnmatch(name, rule) for rule in CALLS_THE_MODEL)]
    assert not [rule for rule in CALLS_THE_MODEL if not any(fnmatch(name, rule) for name in callers)]


def test_nothing_that_was_received_or_read_can_run_code() -> None:
    for path in modules():
        assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & imports_of(path), path.name
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        for call in calls:
            name = ast.unparse(call.func)
            safe = any(
                word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords
            )
            assert name != "torch.load" or safe, f"{path.name}:{call.lineno}"
            assert name not in ("eval", "exec", "yaml.load"), f"{path.name}:{call.lineno}"
            assert "allow_pickle" not in [word.arg for word in call.keywords], f"{path.name}:{call.lineno}"


def test_queues_are_made_of_the_standard_library_alone() -> None:
    tops = {name.partition(".")[0] for name in imports_of(ROOT / "stream" / "queues.py")}
    assert tops <= sys.stdlib_module_names


def test_each_layer_of_the_stream_rests_on_those_below_it() -> None:
    layers = ["queues", "stage", "pipeline", "runner", "cli_run", "cli"]
    graph = own_modules()
    for height, layer in enumerate(layers):
        above = {f"maskstream.stream.{name}" for name in layers[height + 1 :]}
        assert not graph[f"maskstream.stream.{layer}"] & above, layer


def test_the_configuration_knows_nothing_of_what_it_configures() -> None:
    below, waiting = set[str](), {"maskstream.stream.config"}
    graph = own_modules()
    while waiting:
        below |= waiting
        waiting = set().union(*(graph[name] for name in waiting)) - below
    own_files = {
        f"maskstream.stream.{name}"
        for name in ("config", "recovery_settings", "settings", "watchdog_settings", "yaml_lines")
    }
    assert below <= own_files | {"maskstream.model.errors"}
