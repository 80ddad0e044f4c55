"""Programs survive their terminals: closed, full, of another encoding, or about to be steered by names from data."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from salience.configuration.errors import UserError
from salience.configuration.terminal import PARENT, STOPPED, calm_threads, escaped, failed_write, run_program
from tests.helpers.paths import ROOT
from tests.helpers.slow import others_slow

HOSTILE_NAME = "abc\u202e\x9b\x7f"
HEAD = "import os, sys, time\nfrom pathlib import Path\nfrom salience.configuration.terminal import run_program\n"
CHATTY = f"""{HEAD}
def main(argv):
    for number in range(3000):
        print(number, "a line – that is long enough", "…" * 20)
        print(number, file=sys.stderr)
    Path(argv[0]).write_text("finished")
sys.exit(run_program(main))
"""


@pytest.fixture
def shell(tmp_path):
    """Runs a script in a process of its own through a line of bash, in which $RUN stands for it."""

    def start(script, line, **variables):
        (tmp_path / "script.py").write_text(script)
        environment = os.environ | {"RUN": f"{sys.executable} {tmp_path / 'script.py'}"} | variables
        command = ["bash", "-c", f"set -o pipefail; cd {tmp_path}; {line}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return start


@pytest.mark.parametrize(
    "line",
    [
        "$RUN done 2>/dev/null | head -1",
        "$RUN done 2>&1 | true",
        "$RUN done 2>&1 >/dev/null | head -1",
        "$RUN done >&- 2>/dev/null",
        "$RUN done >/dev/null 2>&-",
        "$RUN done <&- >&- 2>&-",
        "PYTHONIOENCODING=ascii $RUN done >/dev/null 2>&1",
        "PYTHONUNBUFFERED=1 $RUN done 2>&1 | head -1",
    ],
)
def test_the_work_is_done_whatever_becomes_of_its_output(shell, tmp_path, line):
    done = shell(CHATTY, line)
    assert (tmp_path / "done").read_text() == "finished"
    assert done.returncode == 0 and "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_output_that_is_lost_is_told(shell, tmp_path):
    done = shell(CHATTY, "$RUN done >/dev/full 2>err; echo $?; grep error: err")
    assert (tmp_path / "done").read_text() == "finished"
    assert done.stdout == "2\nerror: the output can't be written: No space left on device\n"


def test_what_ascii_lacks_is_spelled(shell):
    done = shell(f"{HEAD}sys.exit(run_program(lambda argv: print('5 – 日')))", "$RUN", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "5 \\u2013 \\u65e5\n")


def test_nothing_that_is_printed_steers_the_terminal(capsys):
    hostile = "\x1b]0;title\x07 \x1b[2J \x9b31m \u202egnp.exe\ttab"

    def main(argv):
        sys.stdout.write(f"{hostile}\n")
        sys.stderr.write(f"bar\x1b[A \x1b[31mred\x1b[0m {hostile}\n")
        raise UserError(f"the label {hostile} is unknown")

    assert run_program(main, []) == 2
    captured = capsys.readouterr()
    assert captured.out == "]0;title [2J 31m gnp.exe\ttab\n"
    bar, error = captured.err.splitlines()
    assert bar == "bar\x1b[A \x1b[31mred\x1b[0m ]0;title [2J 31m gnp.exe\ttab"
    assert error == "error: the label ]0;title [2J 31m gnp.exe tab is unknown"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "x", "model.safetensors"),
            "model.safetensors can't be written: No space left on device",
        ),
        (OSError(errno.EFBIG, "x"), "a file can't be written: File too large"),
        (PermissionError(errno.EACCES, "x", "out/run.json"), "out/run.json can't be used: Permission denied"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "a file can't be written"),
        (RuntimeError("Error while serializing: I/O error: (os error 28)"), "a file can't be written: No space left"),
        (KeyboardInterrupt(), STOPPED),
        (UserError("--seed is missing"), "--seed is missing"),
    ],
)
def test_each_end_is_one_sentence(capsys, error, sentence):
    def main(argv):
        raise error

    before = signal.getsignal(signal.SIGINT)
    assert run_program(main, []) == (130 if isinstance(error, KeyboardInterrupt) else 2)
    signal.signal(signal.SIGINT, before)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: {sentence}")


def test_a_mistake_of_ours_stays_a_traceback():
    with pytest.raises(ZeroDivisionError):
        run_program(lambda argv: 1 // 0, [])


def test_an_error_that_is_its_own_cause_has_an_end():
    first, second = RuntimeError("Invalid magic number"), RuntimeError("again")
    first.__cause__, second.__cause__ = second, first
    assert failed_write(first) is None
    first.__cause__ = first
    assert failed_write(first) is None


@pytest.mark.parametrize("write", others_slow(["torch.save", "save_file", "Path.write_bytes"], "save_file"))
def test_a_disk_that_is_full(shell, write):
    """The limit of a file's size stands for it: what libraries raise is the same but for the number."""
    script = f"""{HEAD}
import resource, torch
from safetensors.torch import save_file
def main(argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    weights = {{"a": torch.ones(100_000)}}
    {{"torch.save": lambda: torch.save(weights, "x.pt"), "save_file": lambda: save_file(weights, "x.safetensors"),
     "Path.write_bytes": lambda: Path("x").write_bytes(bytes(100_000))}}[{write!r}]()
sys.exit(run_program(main))
"""
    done = shell(script, "$RUN")
    assert done.returncode == 2 and "can't be written" in done.stderr and len(done.stderr.splitlines()) == 1


def test_ctrl_c_is_one_sentence(tmp_path):
    # What runs in the background of a shell has Ctrl-C switched off.
    as_in_front = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script = f"{HEAD}{as_in_front}sys.exit(run_program(lambda argv: (print('ready', flush=True), time.sleep(60))))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == f"error: {STOPPED}\n"


def test_a_signal_to_end_is_one_sentence_and_status_143(capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def main(argv):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            sys.stdout.write("tidied\n")

    assert run_program(main, []) == 143
    assert capsys.readouterr() == ("tidied\n", f"error: {STOPPED}\n")
    signal.signal(signal.SIGINT, before[1])
    assert signal.getsignal(signal.SIGTERM) == before[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", ["train.py --output_dir o", "eval.py compare a b", "eval/cli.py push a b/c"])
def test_a_signal_while_libraries_are_imported_is_one_sentence(number, words, tmp_path):
    program, *rest = words.split()
    script = f"""import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class AtTheFirst:
    def find_spec(self, name, *_):
        if name in ("torch", "huggingface_hub", "tqdm"):
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, AtTheFirst())
sys.argv[1:] = {rest!r}
runpy.run_path({str(ROOT / program)!r}, run_name="__main__")"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == ({"SIGTERM": 143, "SIGINT": 130}[number.name], f"error: {STOPPED}\n")
    assert not list(tmp_path.iterdir())


def test_a_signal_to_end_that_is_ignored_stays_so(capsys):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert run_program(lambda argv: os.kill(os.getpid(), signal.SIGTERM), []) == 0
    assert signal.signal(signal.SIGTERM, before) == signal.SIG_IGN


@pytest.mark.parametrize(("variables", "is_told"), [("0", True), ("1", True), ("1 2", False)])
def test_of_several_processes_one_speaks(variables, is_told, capsys, monkeypatch):
    for name, value in zip(("LOCAL_RANK", "WORLD_SIZE"), variables.split(), strict=False):
        monkeypatch.setenv(name, value)

    def main(argv):
        raise UserError("no")

    assert run_program(main, []) == 2
    assert capsys.readouterr().err == "error: no\n" * is_told


def test_a_full_disk_names_the_file_that_is_written():
    error = OSError(28, "No space left on device", "theirs.py", None, "ours.py")
    assert failed_write(error).startswith("ours.py can't be written")


def test_a_program_ends_with_the_process_that_started_it(tmp_path):
    child = f"{HEAD}sys.exit(run_program(lambda argv: (print(os.getpid(), flush=True), time.sleep(60))))"
    parent = f"import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], env=os.environ | "
    parent += f"{{{PARENT!r}: str(os.getpid())}})"
    with subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and is_running(pid):
        time.sleep(0.1)
    assert not is_running(pid)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_sleep_unless_the_user_wants_otherwise(given, expected, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    calm_threads()
    assert os.environ["OMP_WAIT_POLICY"] == expected


def test_json_keeps_what_a_terminal_is_not_shown():
    text = escaped(json.dumps({HOSTILE_NAME: "é\n"}, indent=2, ensure_ascii=False))
    assert text == '{\n  "abc\\u202e\\u009b\\u007f": "é\\n"\n}' and json.loads(text) == {HOSTILE_NAME: "é\n"}
