"""What is seen only from outside: a run that is killed, Ctrl-C, a terminal, a pipe, an environment with NumPy alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinytorch

HERE = Path(__file__).parent
needs_safetensors = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import safetensors"], capture_output=True).returncode != 0,
    reason="safetensors is not installed",
)


def environment(**more):
    path = os.pathsep.join([str(Path(tinytorch.__file__).parents[1]), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **more}


def start(*arguments, **options):
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


def run(*arguments, **more):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=60)


@needs_safetensors
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_in_mid_epoch_and_resumed_bit_for_bit(tmp_path):
    """Shuffle, random noise on the data, dropout, Nesterov momentum, clipping and one-cycle are all on."""
    checkpoint = tmp_path / "run.safetensors"
    with start(HERE / "child.py", checkpoint, tmp_path / "never.json", "wait") as child:
        assert child.stdout.readline() == "in the middle\n", child.stderr.read()
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL and not (tmp_path / "never.json").exists()
    for arguments in ((checkpoint, tmp_path / "resumed.json"), (tmp_path / "other", tmp_path / "whole.json")):
        done = run(HERE / "child.py", *arguments)
        assert done.returncode == 0, done.stderr
    resumed, whole = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("resumed", "whole"))
    assert len(resumed["history"]) == 6 and resumed == whole


@needs_safetensors
@pytest.mark.skipif(os.name != "posix", reason="signals work differently here")
def test_ctrl_c_ends_with_the_message(tmp_path):
    with start(HERE / "child.py", tmp_path / "run", tmp_path / "never.json", "wait") as child:
        child.stdout.readline()
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        told = child.communicate(timeout=30)[1]
    assert child.returncode != 0
    assert "stopped in epoch 4 of 6; the first 3 are kept in" in told and "resume=True" in told


SHORT = "from training_loaders import *; trainer().fit(*loaders(), epochs=2{})"


def test_in_a_pipe_one_plain_line_per_epoch():
    done = run("-c", SHORT.format(""))
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and not done.stderr and len(lines) == 2 and "\x1b" not in done.stdout
    figures = r"train loss \d\.\d{4}  test loss \d\.\d{4}  test accuracy \d\.\d{4}  lr \S+  \S+ s  [\d,]+ images/s"
    assert re.fullmatch(f"epoch 2/2  {figures}", lines[1]), lines[1]


def test_silence_on_request():
    done = run("-c", SHORT.format(", progress=False"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_function_gets_every_row():
    done = run("-c", SHORT.format(", progress=lambda row: print(row['epoch'])"))
    assert done.stdout.split() == ["1", "2"]


def in_terminal(code, columns, **more):
    """What a terminal of that width is sent."""
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**environment(TERM="xterm-256color", **more)}
    env.pop("COLUMNS", None)
    child = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    sent = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        sent += part
    os.close(master)
    assert child.wait(timeout=60) == 0, sent.decode()
    return sent.decode()


@pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals here")
@pytest.mark.parametrize("columns", [100, 60])
def test_in_a_terminal_a_live_bar(columns):
    pytest.importorskip("rich", reason="Rich is not installed")
    slow = "import time; slow = lambda epoch, batch: time.sleep(0.06)\n"
    sent = in_terminal(slow + "from training_loaders import *; trainer().fit(*loaders(slow), epochs=2)", columns)
    assert "epoch 1/2" in sent and "/6" in sent and "left" in sent and "epoch 2/2  train loss" in sent
    assert ("images/s" in re.sub(r"epoch \d/\d  train.*", "", sent)) == (columns == 100)


@pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals here")
def test_in_a_terminal_without_rich_plain_lines():
    sent = in_terminal("import sys; sys.modules['rich'] = None\n" + SHORT.format(""), 100)
    assert sent.count("train loss") == 2 and "\x1b" not in sent


def test_numpy_alone_is_enough_to_train_but_a_checkpoint_names_what_is_missing():
    blocked = "import sys\nfor name in ('rich', 'safetensors', 'matplotlib', 'sklearn'): sys.modules[name] = None\n"
    assert run("-c", blocked + SHORT.format("")).stdout.count("train loss") == 2
    done = run("-c", blocked + SHORT.format(", checkpoint='run'"))
    assert "ModuleNotFoundError: weights and checkpoints are kept in safetensors files: pip install" in done.stderr
    assert "train loss" not in done.stdout
