"""Errors that a user can act on: each message says what happened, why, and what to do.

MaskstreamError
├── InputError             refused before any work is done (exit code 2)
│   ├── WeightsError       weights cannot be found, fetched, verified or fitted
│   ├── ConfigError        a setting is unknown, of the wrong type or out of range
│   ├── EngineError        a way to run the networks is not installed, cannot run here, or computes wrongly
│   ├── PromptError        a prompt is malformed or points beside the picture (also a ValueError)
│   ├── SourceError        a source cannot be opened or holds no video
│   ├── SinkError          an output cannot be written
│   └── ControlError       a request to a run cannot be carried out, or nobody answers it
├── StreamBrokenError      a source ended by failure after it had begun (exit code 1)
└── StageStuckError        a part of a run hung, and the watchdog ended it (exit code 1)
"""


class MaskstreamError(Exception):
    """Base of all errors that are meant for the user."""


class InputError(MaskstreamError):
    """What the user asked for cannot be done as asked."""


class WeightsError(InputError):
    """Model weights cannot be found, fetched, verified or fitted."""


class ConfigError(InputError):
    """A setting is unknown, of the wrong type or out of range."""


class EngineError(InputError):
    """A way to run the networks is not installed, cannot run here, or computes wrongly."""


class PromptError(InputError, ValueError):
    """A prompt is malformed or points beside the picture."""


class SourceError(InputError):
    """A source cannot be opened or holds no video."""


class SinkError(InputError):
    """An output cannot be written."""


class ControlError(InputError):
    """A request to a run cannot be carried out, or nobody answers it."""


class StreamBrokenError(MaskstreamError):
    """A source ended by failure after it had begun; all frames before the break were delivered."""


class StageStuckError(MaskstreamError):
    """A part of a run hung, and could not be restarted; what was published before is written."""
