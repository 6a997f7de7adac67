"""What went wrong in a process of the engine, found under what the runtime makes of it.

Bytewax turns an exception of ours into a panic: it prints it with a backtrace of its own, and the processes beside it
panic as well when the connection breaks. So an exception is noted where it leaves our code, and what the runtime prints
is kept off the terminal.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from flowops.errors import FlowopsError, RunError, StateError

Adapter = TypeVar("Adapter", bound=type[Any])

_CALLED = (
    "__call__",
    "build_part",
    "close",
    "next_awake",
    "next_batch",
    "on_batch",
    "on_eof",
    "snapshot",
    "write_batch",
)
"""The methods that Bytewax calls on a source, a sink or a logic."""

_KEPT = "Its state is kept: the same command goes on from the last epoch."
_LAST_WORDS = 4000

_REFUSED = re.compile(r'SqliteFailure\(Error { code: (?P<code>\w+),[^}]*}, Some\("(?P<words>[^"]*)"\)')

_noted: list[Exception] = []


class RuntimePanicError(RunError):
    """The runtime itself failed, or lost a process beside this one."""


def noted(adapter: Adapter) -> Adapter:
    """Note the first exception that leaves one of the methods of `adapter` that Bytewax calls."""
    for name in _CALLED:
        if name in vars(adapter):
            setattr(adapter, name, _noting(vars(adapter)[name]))
    return adapter


def _noting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except StopIteration:
            raise
        except Exception as error:
            failed_before = bool(_noted)
            _noted.append(error)
            if failed_before and method.__name__ == "close":
                return None  # called while the first failure is unwound, where a second one would abort the process
            raise

    return call


def panicked(error: BaseException) -> bool:
    """Whether this is a panic of the runtime, which is no Exception."""
    return not isinstance(error, (Exception, KeyboardInterrupt, SystemExit))


def forget() -> None:
    """Begin a run: nothing has gone wrong yet."""
    _noted.clear()


def explained(error: BaseException) -> FlowopsError:
    """Why a run that ended with `error` failed: what was noted first, or else what the runtime said."""
    cause = _noted[0] if _noted else error
    if isinstance(cause, FlowopsError):
        return cause
    if isinstance(cause, OSError):
        return disk_error(cause)
    if _noted:
        return RunError(f"the run failed: {type(cause).__name__}: {cause}. {_KEPT}")
    return _of_the_store(str(cause)) or RuntimePanicError(f"the runtime failed: {cause}. {_KEPT}")


def _of_the_store(words: str) -> StateError | RunError | None:
    """What the recovery store refused, if the runtime, which only panics then, says so in these words of its own."""
    refused = _REFUSED.search(words)
    if refused is None:
        return None
    if refused["code"] in ("DatabaseCorrupt", "NotADatabase"):
        return StateError(
            f"the recovery store is damaged ({refused['words']}): put it back, or begin anew with --fresh"
        )
    return RunError(
        f"the recovery store cannot be used: {refused['words']}. Make room or give access: the same command goes on"
        " from the last epoch."
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the operating system refuses in the body is said of this file: of a write it does not say so itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def disk_error(error: OSError) -> RunError:
    """What the operating system refused, as an error of a run."""
    where = f"{error.filename}: " if error.filename else ""
    return RunError(
        f"the run failed: {where}{error.strerror or error}. Make room or give access: the same command goes on from the"
        " last epoch."
    )


@contextmanager
def own_streams(*, print_to_stderr: bool = False) -> Iterator[None]:
    """Keep back what the runtime prints while the body runs; what Python prints goes where it went before.

    `print_to_stderr` leaves standard output to whoever comes after the body.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = sys.stdout, sys.stderr
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as words:
        sys.stdout = _writer(kept[1 if print_to_stderr else 0])
        sys.stderr = _writer(kept[1])
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
        try:
            yield
        except RuntimePanicError as error:
            error.add_note(_last_of(words))
            raise
        finally:
            ours = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = before
            for number, handle in enumerate(kept, 1):
                os.dup2(handle, number)
            for stream in ours:
                with contextlib.suppress(OSError):  # its reader has gone, and what was still to be printed with it
                    stream.close()
            for handle in kept:
                os.close(handle)


def _writer(handle: int) -> IO[str]:
    return open(handle, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _last_of(words: IO[bytes]) -> str:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - _LAST_WORDS))
    return words.read().decode(errors="replace")
