"""The file channel: a JSON line per command, appended to a file.

A receipt is assumed: what is in the file counts as delivered. After a crash the file is cut back to where the last
committed epoch left it, so that a line stands in it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from flowops.channels.base import Local, Settings
from flowops.channels.command import to_json
from flowops.errors import ConfigError, RunError, StateError
from flowops.settings.fields import Label
from flowops.settings.model import Word
from flowops.settings.shapes import says

_BUFFER = 1 << 20


class FileSettings(Settings):
    """`type: file`; `path` starts at the folder of flowops.yaml."""

    type: Annotated[Literal["file"], Word, says("What kind of channel it is.", "file")]
    path: Annotated[
        Label, says("The file that messages are appended to, seen from the folder of flowops.yaml.", "out/push.jsonl")
    ]

    @property
    def file(self) -> str:
        """The path as written."""
        return self.path


class FileOutlet:
    """Appends to `path`, which begins at `position`: anything beyond was never committed."""

    def __init__(self, path: Path, position: int) -> None:
        self._path = path
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is no regular file: a crash could not be undone in it; change the `path:`")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=_BUFFER)
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}: {error.filename}; give access, or change the channel's `path:`"
            ) from error
        length = self._file.seek(0, 2)
        if length < position:
            raise StateError(
                f"{path} has {length} bytes where {position} were written: it was changed meanwhile; put it back, or"
                " begin anew with --fresh"
            )
        self._file.truncate(position)

    def write(self, lines: list[bytes]) -> None:
        """Append a line per command."""
        with self._refusals():
            self._file.write(b"\n".join(lines) + b"\n")

    def position(self) -> int:
        """The file's length in bytes."""
        with self._refusals():
            self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        with self._refusals():  # what was not written yet is written now
            self._file.close()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"cannot write {self._path}: {error.strerror}; make room, and the same command goes on"
            ) from error


def _open(settings: FileSettings, folder: Path, position: int) -> FileOutlet:
    return FileOutlet(folder / settings.path, position)


CHANNEL = Local(FileSettings, to_json, _open)
