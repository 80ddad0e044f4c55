"""What every program of ours does around its work: it survives its terminal, and ends in one sentence.

A reader that goes away (`| head -1`), an encoding without our characters and names from data that would steer the
terminal change what is printed, never what is computed.
"""

import ctypes
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from salience.configuration.errors import UserError

PARENT = "SALIENCE_PARENT"
"""Environment variable with the id of a process that a program shall not outlive."""
STOPPED = "stopped: the same command goes on where it can, or begins again (train: with --resume_from_checkpoint last)"
# Besides line breaks and tabs, characters that steer a terminal or turn its reading direction.
_STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Progress bars go up a line, and libraries write in colours.
_BAR_OR_STEERING = re.compile(f"(\x1b\\[A|\x1b\\[[0-9;]*m)|{_STEERING.pattern}")
# How libraries written in Rust and C++ say why a file can't be written.
_FAILED_WRITE = re.compile(
    r"\(os error (\d+)\)|PytorchStreamWriter failed|unexpected pos|database or disk is full|iostream error"
)


def escaped(json: str) -> str:
    """JSON to print, with escapes for the characters that a terminal isn't shown: other programs may read it."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json)


def calm_threads() -> None:
    """Let threads that wait for each other sleep, before torch starts them, unless OMP_WAIT_POLICY says otherwise.

    They would spin, and take the time that the last of them needs wherever another process is busy.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def run_program(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Run a program in a terminal, a pipe or a log file.

    Args:
        main: Takes the words behind the program's name; returns its exit status, None for 0.
        argv: These words. Default: `sys.argv[1:]`.

    Returns:
        The exit status: that of `main`; 2 with one sentence for bad input, a full disk or output that can't be written;
        130 after Ctrl-C, 143 where it was told to end (SIGTERM).
    """
    _occupy_closed_streams()
    out, err = _Guarded(sys.stdout, _STEERING), _Guarded(sys.stderr, _BAR_OR_STEERING)
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        before = _stop_when_terminated()
        try:
            end_with_parent()
            status = main(list(sys.argv[1:] if argv is None else argv)) or 0
        except UserError as error:
            status = _tell(str(error))
        except KeyboardInterrupt as stop:
            _ignore_ctrl_c()
            status = _tell(STOPPED, 143 if isinstance(stop, Terminated) else 130)
        except Exception as error:
            sentence = failed_write(error)
            if sentence is None:
                raise
            status = _tell(sentence)
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
        out.flush()
        if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
            status = _tell(f"the output can't be written: {out.failure.strerror}", status or 2)
        err.flush()
    return status


class Terminated(KeyboardInterrupt):
    """The process was told to end, by a job scheduler, `kill` or the end of its parent."""


def _stop_when_terminated() -> Any:
    """End as after Ctrl-C; returns what SIGTERM did before, None where that isn't changed."""
    owner = os.getpid()

    def stop(*_: Any) -> None:
        if os.getpid() != owner:  # a worker that was forked off: it has nothing to tell
            os._exit(143)
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return None
    return signal.signal(signal.SIGTERM, stop)


def failed_write(error: BaseException | None) -> str | None:
    """One sentence for a file that couldn't be written or read, whichever library says so; None for other errors."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:  # an exception can be its own cause
        seen.append(error)
        found = _FAILED_WRITE.search(str(error))
        if isinstance(error, OSError) and error.errno and (error.filename or error.errno in _FULL):
            return _file_sentence(error.errno, error.filename2 or error.filename)  # what is copied, and where
        if found:
            return _file_sentence(int(found[1] or errno.ENOSPC), None)
        error = error.__cause__ or error.__context__
    return None


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _file_sentence(number: int, file: Any) -> str:
    reason = os.strerror(number)
    if number in _FULL:
        return f"{file or 'a file'} can't be written: {reason}; make room, then {STOPPED.removeprefix('stopped: ')}"
    return f"{file or 'a file'} can't be used: {reason}"


def end_with_parent() -> None:
    """Let this process be terminated when the one that `PARENT` names ends, even if that is killed (Linux)."""
    parent = os.environ.pop(PARENT, None)
    if parent is None or sys.platform != "linux":
        return
    set_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before
        raise KeyboardInterrupt


def speaks() -> bool:
    """Whether this is the one of several processes on its machine that speaks."""
    return os.environ.get("LOCAL_RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


def is_coloured() -> bool:
    """Whether colours may be printed: into a terminal, unless NO_COLOR says no (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def harmless(text: str) -> str:
    """A text from data without what would steer a terminal, its colours included."""
    return _STEERING.sub("", text)


def print_coloured(text: str) -> None:
    """Print a text in our own colours; what in it comes from data went through `harmless`."""
    stream = sys.stdout
    if isinstance(stream, _Guarded):
        stream.write(f"{text}\n", _BAR_OR_STEERING)
    else:
        stream.write(f"{text}\n")


def _tell(sentence: str, status: int = 2) -> int:
    if speaks():
        sys.stdout.flush()
        sys.stderr.write(f"error: {sentence}\n")
    return status


def _ignore_ctrl_c() -> None:
    """A second Ctrl-C shall not spoil the end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # only the main thread may
        return


def _occupy_closed_streams() -> None:
    """Put nothing in the place of closed streams: the next file that is opened would take their number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  lives as long as the process


class _Guarded:
    """A stream that takes everything: what steers a terminal is left out, and when it breaks, all goes to nowhere.

    Args:
        stream: The stream.
        steering: What is left out; what its first group matches stays.
    """

    def __init__(self, stream: Any, steering: re.Pattern[str]) -> None:
        self.stream, self.steering = stream, steering
        self.failure: OSError | None = None
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str, steering: re.Pattern[str] | None = None) -> int:
        """Write what is harmless; `steering` in place of the stream's own."""
        steering = steering or self.steering
        kept = steering.sub(lambda match: (match[1] or "") if steering.groups else "", text)
        self._attempt(lambda: self.stream.write(kept))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Write all lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Send on what is kept back."""
        self._attempt(self.stream.flush)

    def _attempt(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except OSError as error:
            self.failure = self.failure or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())  # what was kept back goes there, too
            os.close(nowhere)
