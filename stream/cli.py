"""The command line: what may be written, and which function answers it. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn, get_args

from maskstream.model.errors import InputError, MaskstreamError

from .cli_bench_options import BENCH_EXAMPLES, add_bench_options, bench_request
from .cli_ctl_options import CTL_EXAMPLES, add_ctl_options
from .cli_eval_options import EVAL_EXAMPLES, add_eval_options, eval_request
from .config import Engine, load_config, preset_names
from .console import EXIT_BROKEN, EXIT_INPUT, EXIT_INTERRUPTED
from .logs import LOG_FORMATS, LOG_LEVELS, NOTICE, last_line, log_output

_DESCRIPTION = "Any video stream in, tracked object masks out, in real time."
_EXAMPLES = """\
examples:
  maskstream run --source clip.mp4 --prompt 1:box=100,80,300,400 --sink video=out.mp4
  maskstream run webcam --sink video=out.mp4
  maskstream doctor
"""
_RUN_EXAMPLES = f"""\
sources:  a file, a folder or glob of pictures, rtsp:// or http:// URLs, a camera (0, /dev/video0),
          synthetic: (moving shapes), chaos:SOURCE (any of these, with faults)
prompts:  ID:KIND=VALUE[@TIME], once for each box or point; px, or % of the picture's sides
            1:box=x0,y0,x1,y1    2:point=x,y    2:negative=x,y    3:mask=file.png    4:point=50%,50%@0:01:30
            4:remove@0:02:00    1:rename=7@0:02:30
sinks:    video=FILE.mp4 (masks drawn on the video), masks=DIR (JSON Lines and indexed PNG),
          zmq=tcp://127.0.0.1:5555 (messages for other programs), preview=FILE.png (first, middle, last)
streams:  --source several times runs several streams at once on one set of networks; prompts and sinks are
          then each one's, with its {{name}} or {{number}}; or a .yaml file has a list of `streams`
presets:  {", ".join(preset_names())}; a .yaml file or preset is overridden by the options given beside it

examples:
  maskstream run --source clip.mp4 --prompt 1:box=100,80,300,400 --sink video=out.mp4 --sink masks=out
  maskstream run --source 0 --prompt 1:point=50%,50% --sink zmq=tcp://127.0.0.1:5555 --size 512
  maskstream run my.yaml --max-frames 100 --json
  maskstream run --source a.mp4 --source b.mp4 --prompt 1:point=50%,50% --sink 'video=out-{{name}}.mp4'
  maskstream run webcam --control tcp://127.0.0.1:5556 --sink video=out.mp4    (then: maskstream ctl --help)

exit codes: 0 the whole source was run; 1 it broke off, and what came before is written; 2 it could not be
            started; 130 stopped by Ctrl-C, and what was in flight is written (press it twice to stop at once)
            when one of several streams breaks off, the others go on, and the exit code is 1
"""


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as every other error does."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar; each command's function is in `command`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser("maskstream", description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"maskstream {metadata.version('maskstream')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    run = commands.add_parser(
        "run", help="track objects through a stream", epilog=_RUN_EXAMPLES, formatter_class=raw
    )
    _add_run_options(run)
    weights = commands.add_parser("weights", help="list, fetch and verify model weights")
    _add_weights_commands(weights)
    evaluation = commands.add_parser(
        "eval", help="score masks against a known truth", epilog=EVAL_EXAMPLES, formatter_class=raw
    )
    add_eval_options(evaluation)
    _add_model_options(evaluation)
    evaluation.set_defaults(command=_eval)
    bench = commands.add_parser(
        "bench", help="how fast it is on this machine", epilog=BENCH_EXAMPLES, formatter_class=raw
    )
    add_bench_options(bench)
    bench.set_defaults(command=_bench)
    export = commands.add_parser("export", help="write the networks for programs without PyTorch")
    _add_export_options(export)
    ctl = commands.add_parser(
        "ctl", help="steer a run that has --control", epilog=CTL_EXAMPLES, formatter_class=raw
    )
    add_ctl_options(ctl, _Parser)
    ctl.set_defaults(command=_ctl)
    keys = commands.add_parser("keys", help="make a pair of key files, for messages and control")
    keys.add_argument("name", metavar="NAME", help="makes NAME.key, to give away, and NAME.key_secret")
    keys.set_defaults(command=_keys)
    doctor = commands.add_parser("doctor", help="what this machine has, and what a run would use")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(command=_doctor)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. Errors meant for the user become one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = argparse.Namespace(log_format="text")
    try:
        build_parser().parse_args(arguments, options)
        options.arguments = arguments
        return int(options.command(options))
    except MaskstreamError as error:
        if "--json" in arguments:
            sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        last_line(options.log_format, logging.ERROR, "error", str(error))
        return EXIT_INPUT if isinstance(error, InputError) else EXIT_BROKEN
    except KeyboardInterrupt:
        last_line(options.log_format, NOTICE, "interrupted", "interrupted")
        return EXIT_INTERRUPTED


def _add_run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("config", nargs="?", metavar="CONFIG.yaml|PRESET", help="settings to start from")
    run.add_argument(
        "--source", action="append", metavar="SOURCE", help="where frames come from; once for each stream"
    )
    run.add_argument("--prompt", action="append", metavar="ID:KIND=VALUE[@TIME]", help="what to track")
    run.add_argument("--sink", action="append", metavar="KIND=TARGET", help="where results go")
    run.add_argument("--control", metavar="ENDPOINT", help="be steered here: tcp://127.0.0.1:5556; see ctl")
    _add_model_options(run)
    run.add_argument("--max-frames", type=int, metavar="N", help="stop after so many frames")
    run.add_argument(
        "--connect-timeout", type=float, metavar="S", help="how long a stream may take to show a picture"
    )
    run.add_argument(
        "--no-reconnect",
        action="store_true",
        help="end when a live stream breaks off or is not there, in place of connecting again",
    )
    run.add_argument(
        "--no-ladder",
        action="store_true",
        help="give a live stream only masks of encoded frames, and drop the other frames",
    )
    run.add_argument(
        "--interaction",
        choices=("none", "exclusive"),
        help="exclusive: a pixel is of one object, which keeps look-alikes apart; none: each by itself",
    )
    run.add_argument(
        "--decode-every",
        type=int,
        metavar="N",
        help="for many objects: redraw one that is surely followed on every Nth frame only (default: 1)",
    )
    run.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    _add_operations_options(run)
    run.set_defaults(command=_run)


def _add_operations_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--metrics", metavar="HOST:PORT", help="serve /metrics, /healthz and /readyz here")
    run.add_argument("--log-format", choices=LOG_FORMATS, default="text", help="json: an object per line")
    run.add_argument("--log-level", choices=LOG_LEVELS, help="how much is logged; see docs/operations.md")
    run.add_argument(
        "--check",
        action="store_true",
        help="start nothing: see whether all is in place, and say what would run",
    )


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--weights", metavar="PATH|NAME", help="see maskstream weights list")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where the networks run")
    command.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="long side of the model input: 1024, 768, 512 or any multiple of 16; smaller is faster, coarser",
    )
    command.add_argument(
        "--engine",
        choices=get_args(Engine),
        help="what runs the networks; auto: the quickest that is exact",
    )
    command.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads for the networks; one per core"
    )


def _add_export_options(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "format", choices=("onnx", "openvino"), help="for ONNX Runtime and others, or OpenVINO"
    )
    export.add_argument("folder", metavar="FOLDER", help="where the files go")
    export.add_argument(
        "--image",
        default="1280x720",
        metavar="WxH",
        help="size of the images to come, px; 1280x720 if not given",
    )
    export.add_argument("--weights", metavar="PATH|NAME", help="see maskstream weights list")
    export.add_argument("--size", type=int, metavar="PX", help="long side of the model input, as for run")
    export.set_defaults(command=_export, device=None, engine=None, threads=None)


def _add_weights_commands(weights: argparse.ArgumentParser) -> None:
    commands = weights.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for action, what in (
        ("list", "what is known, and what is in the cache"),
        ("pull", "fetch weights into the cache"),
        ("verify", "check what is in the cache against its sha256"),
    ):
        command = commands.add_parser(action, help=what)
        if action != "list":
            command.add_argument("name", nargs="?" if action == "verify" else None, metavar="NAME")
        command.set_defaults(command=_weights, action=action)


def config_overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say, in the YAML's shape."""
    values = {
        "prompts": options.prompt,
        "sinks": options.sink,
        "control": options.control,
        "metrics": options.metrics,
        "interaction": options.interaction,
        "decode_every": options.decode_every,
        "max_frames": options.max_frames,
        "connect_timeout_s": options.connect_timeout,
    }
    given = {key: value for key, value in values.items() if value is not None}
    if options.no_reconnect:
        given["reconnect"] = {"enabled": False}
    if options.no_ladder:
        given["ladder"] = False
    return {**given, **_model_overrides(options)}


def _model_overrides(options: argparse.Namespace) -> dict[str, Any]:
    model = {name: getattr(options, name) for name in ("weights", "device", "size", "engine", "threads")}
    return {"model": {key: value for key, value in model.items() if value is not None}}


def _run(options: argparse.Namespace) -> int:
    with log_output(options.log_format, options.log_level):
        return _run_logged(options)


def _run_logged(options: argparse.Namespace) -> int:
    from .fleet_config import load_streams

    streams = load_streams(options.config, config_overrides(options), options.source or ())
    if options.check:
        from .cli_check import check_command

        return check_command(streams, as_json=options.json)
    is_quiet = options.log_format == "json"
    if not streams[0].name:
        from .cli_run import run_command

        return run_command(streams[0].config, as_json=options.json, is_quiet=is_quiet)
    from .cli_fleet import fleet_command

    return fleet_command(streams, as_json=options.json, is_quiet=is_quiet)


def _weights(options: argparse.Namespace) -> int:
    from .cli_weights import weights_command

    return weights_command(options.action, getattr(options, "name", None))


def _ctl(options: argparse.Namespace) -> int:
    from .cli_ctl import ctl_command

    return ctl_command(options)


def _keys(options: argparse.Namespace) -> int:
    from .cli_keys import keys_command

    return keys_command(options.name)


def _export(options: argparse.Namespace) -> int:
    from .cli_export import export_command

    model = load_config(None, _model_overrides(options)).model
    return export_command(options.format, options.folder, options.image, model)


def _eval(options: argparse.Namespace) -> int:
    from .cli_eval import eval_command

    model = load_config(None, _model_overrides(options)).model
    return eval_command(eval_request(options, model, options.arguments))


def _bench(options: argparse.Namespace) -> int:
    from .cli_bench import bench_command

    return bench_command(bench_request(options, options.arguments))


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import doctor_command

    return doctor_command(as_json=options.json)
