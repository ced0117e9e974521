"""Peak memory of training steps on one side, in a fresh process: python memory.py SIDE BATCH NETWORK prints MB."""

import gc
import os
import subprocess
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
STEPS = 6


def peak_of(side: str, batch: int, network: str) -> float:
    """MB that steps of a network need above what the process had before them."""
    command = [sys.executable, str(Path(__file__)), side, str(batch), network]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise SystemExit(f"the memory of {side} could not be measured:\n{done.stderr}")
    return float(done.stdout)


def peak() -> float:
    """The most memory that this process has had, in MB."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / (1 << 20)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def forget_peak() -> None:
    """Start the peak from what the process has now, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def main() -> None:
    """Warm up on one image, so that libraries' own memory is not counted; then train."""
    name, batch, network = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if name in ("torch", "channels last"):
        from torch_side import TorchSide as Side
    else:
        from tiny_side import TinySide as Side
    side = Side(name)
    side.step(network, "Sequential", 2)()
    step = side.step(network, "Sequential", batch)
    gc.collect()
    forget_peak()
    before = peak()
    for _ in range(STEPS):
        step()
    print(peak() - before)


if __name__ == "__main__":
    for library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    main()
