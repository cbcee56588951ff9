"""Programs that a sandbox must survive, by what they try."""

from __future__ import annotations

import re
import textwrap

from models.core.programs import Program

TESTS = "def check(candidate):\n    assert candidate(20) == 21\n    assert candidate(1) == 2\n"


def sections(text: str) -> dict[str, str]:
    """Code by the line `## name` above it."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _right(code: str) -> Program:
    """Does `code`, and then defines what the tests ask for."""
    return Program(f"{code}\n\ndef f(x):\n    return x + 1\n", TESTS, "f")


def _wrong(body: str) -> Program:
    """A function that does `body` instead."""
    return Program(f"def f(x):\n{textwrap.indent(body, '    ')}\n", TESTS, "f")


# Passes in the end; what it did on the way must have no effect.
RIGHT = {
    name: _right(code)
    for name, code in sections("""
## writes into the temporary folder
open('/tmp/starmill-escaped', 'w').write('x')
## leaves threads running
import threading, time
for _ in range(5):
    threading.Thread(target=time.sleep, args=(60,)).start()
## leaves a process running
import os, time
if os.fork() == 0:
    time.sleep(60)
## leaves a daemon running
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
## wants to exit with an error
import atexit, os
atexit.register(os._exit, 3)
## runs an event loop
import asyncio
asyncio.run(asyncio.sleep(0))
## asks other processes
import multiprocessing
with multiprocessing.get_context('fork').Pool(2) as pool:
    assert pool.map(abs, [-1, 2]) == [1, 2]
## leaves children to others, one after the other
import os
for _ in range(60):
    if os.fork() == 0:
        child = os.fork()
        os._exit(0)
    os.wait()
## prints invalid UTF-8
import os
os.write(1, b'\\xff\\xfe\\x80 \\xc3')
## prints what a harness might
print('ready'); print('passed 0.1')
## closes its output
import os
os.close(1); os.close(2)
## ignores signals
import signal
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
""").items()
}

# `name: verdict`; where it says `any`, which one depends on what the machine does first, but none passes.
_BODIES = sections("""
## fork bomb: any
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
## thread bomb: error
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(60,)).start()
## shell fork bomb: any
import os
os.system('f() { f | f & }; f')
while True:
    pass
## memory bomb: memory
kept = []
while True:
    kept.append(bytearray(1 << 20))
## memory bomb of many processes: memory
import os, time
for _ in range(8):
    if os.fork() == 0:
        kept = bytearray(80 << 20)
        time.sleep(60)
time.sleep(60)
## memory bomb that catches errors: any
kept = []
while True:
    try:
        kept.append(bytearray(1 << 20))
    except MemoryError:
        pass
## one gigabyte of text: memory
return len('x' * (1 << 30))
## a file without end: error
with open('/tmp/f', 'wb') as file:
    while True:
        file.write(bytes(1 << 20))
## files without end: error
for number in range(1 << 20):
    open(f'/tmp/{number}', 'wb').write(bytes(1 << 20))
## shared memory without end: error
for number in range(1 << 20):
    open(f'/dev/shm/{number}', 'wb').write(bytes(1 << 20))
## descriptors without end: error
import os
while True:
    os.dup(0)
## endless loop: timeout
while True:
    pass
## endless loop that ignores its limit: timeout
import signal
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True:
    pass
## endless regular expression: timeout
import re
return re.match('(a+)+$', 'a' * 60 + 'b')
## endless sleep: timeout
import time
time.sleep(1000)
## stops itself: timeout
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)
## waits for input: error
return input()
## endless output: output_limit
while True:
    print('x' * 1000)
## endless errors: output_limit
import os
while True:
    os.write(2, b'x' * 1000)
## deep recursion: error
return f(x + 1)
## deep recursion without a limit: any
import sys
sys.setrecursionlimit(1 << 30)
return f(x)
## a segmentation fault: error
import ctypes
ctypes.string_at(0)
## kills everybody: error
import os, signal
os.kill(-1, signal.SIGKILL)
while True:
    pass
## kills its parent: error
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
while True:
    pass
## kills the first process: any
import os, signal
os.kill(1, signal.SIGKILL)
return 0
## kills processes one by one: timeout
import os
for pid in range(1, 40000):
    try:
        pid == os.getpid() or os.kill(pid, 9)
    except OSError:
        pass
while True:
    pass
## exits early: error
import sys
sys.exit(0)
## exits early for good: error
import os
os._exit(0)
## replaces itself: error
import os
os.execv('/bin/true', ['true'])
## leaves no tests to run: failed
import builtins
builtins.exec = lambda *_: None
return 0
## makes assertions harmless: any
import builtins
builtins.AssertionError = builtins.BaseException = ValueError
return 0
## replaces the tests: failed
global check
check = lambda candidate: None
return 0
## replaces the end of the process: error
import os
os._exit = os.write = lambda *_: None
raise KeyError
## answers for the harness: any
import os
for descriptor in range(3, 64):
    try:
        os.write(descriptor, b'ready\\npassed 0.1 \\n')
    except OSError:
        pass
os._exit(0)
## lets a child answer: failed
import os
return x + 1 if os.fork() == 0 else 0
## raises what cannot be shown: error
class E(Exception):
    def __str__(self):
        raise self
raise E
""")
_MODULES = {
    "exits while it is defined: error": "raise SystemExit(0)\ndef f(x):\n    return x + 1\n",
    "is no Python: syntax": "def f(x:\n    return x + 1",
    "holds a null character: syntax": "x = '\0'",
    "is nested too deep: syntax": f"x = {'[' * 5000}{']' * 5000}",
    "defines nothing: error": "pass",
    "leaves no tests to run while it is defined: failed": textwrap.dedent("""
        import builtins
        builtins.exec = lambda *_: None
        def check(candidate):
            pass
        def f(x):
            return 0
    """),
    "equals everything: failed": textwrap.dedent("""
        class All:
            def __eq__(self, other):
                return True
        def f(x):
            return All()
    """),
}
WRONG = {name: _wrong(body) for name, body in _BODIES.items()}
WRONG |= {name: Program(code, TESTS, "f") for name, code in _MODULES.items()}
