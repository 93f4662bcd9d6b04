"""SIGINT and SIGTERM end a command with one line, whatever its threads are doing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The main thread is in C, as while compiling, when the signal comes; another compiles.
BUSY = """
import ctypes, threading
import jax, jax.numpy as jnp
from mcdi_jax.commands.command import end_at_signals

end_at_signals()

def compiles():
  for n in range(1, 10**6):
    jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))(jnp.ones((n, n))).block_until_ready()

threading.Thread(target=compiles).start()
print("ready", flush=True)
ctypes.CDLL(None).usleep.restype = None
while True:
  for _ in range(60):
    ctypes.CDLL(None).usleep(990_000)
"""
SLEEPS = BUSY.split("while True")[0] + "import time\ntime.sleep(60)\n"


@pytest.mark.parametrize("code", [BUSY, SLEEPS], ids=["in C", "in Python"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_at_once_with_one_line(code: str, number: int):
  process = subprocess.Popen(
    [sys.executable, "-c", code],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n"
  process.send_signal(number)
  _, err = process.communicate(timeout=20)
  assert process.returncode == 128 + number
  assert err == "interrupted: the same command continues\n"
