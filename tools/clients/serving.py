"""A server for a script: started on a free port, stopped at the end."""

import importlib
import subprocess
import sys
import tempfile
from contextlib import contextmanager


def require(*packages):
    """The packages, or an end with 0 and a message where one is missing."""
    try:
        return [importlib.import_module(package) for package in packages]
    except ImportError as missing:
        names = " ".join(packages).replace("PIL.Image", "pillow")
        print(f"skipped: {missing}; pip install {names}")
        sys.exit(0)


def launch(binary, history, *options, **settings):
    """A process of `calotype serve`, and its address."""
    command = [binary, "serve", "--port", "0", "--history", history, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **settings)
    return process, process.stdout.readline().strip().rstrip("/")


def memory_mib(process, what="VmRSS"):
    """What a process has in memory; `VmHWM`: at most had."""
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what)) / 1024


@contextmanager
def served(*options):
    """Address of `calotype serve`, whose path is the script's first argument."""
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/calotype"
    with tempfile.TemporaryDirectory() as history:
        process, address = launch(binary, history, *options)
        try:
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)
