"""Programs that a sandbox must survive: what each tries, what it is, and the verdicts that are right.

`{port}` is where a server listens on this machine, `{folder}` a folder of this machine that holds `secret`.
"""

from __future__ import annotations

from models.execution import Outcome, Program

TESTS = "def check(candidate):\n    assert candidate(20) == 21\n    assert candidate(1) == 2\n"


def told(code: str) -> Program:
    """A program that is right, but for what it does first."""
    return Program(f"{code}\n\ndef f(x):\n    return x + 1\n", TESTS, "f")


def doing(body: str) -> Program:
    """A function that does `body` instead of its work, and is wrong."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return Program(f"def f(x):\n{lines}\n", TESTS, "f")


# It is right in the end; what it did on the way must have had no effect.
RIGHT: dict[str, Program] = {
    "writes into the temporary folder": told("open('/tmp/starmill-escaped', 'w').write('x')"),
    "leaves threads running": told(
        "import threading, time\nfor _ in range(5):\n    threading.Thread(target=time.sleep, args=(60,)).start()"
    ),
    "leaves a process running": told("import os, time\nif os.fork() == 0:\n    time.sleep(60)"),
    "leaves a daemon running": told(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(60)\n    os._exit(0)"
    ),
    "exits with an error at the end": told("import atexit, os\natexit.register(os._exit, 3)"),
    "prints invalid UTF-8": told("import os\nos.write(1, b'\\xff\\xfe\\x80 \\xc3')"),
    "prints what a harness might": told("print('passed'); print('{\"outcome\": \"passed\"}')"),
    "closes its output": told("import os\nos.close(1); os.close(2)"),
    "ignores signals": told("import signal\nfor n in (1, 2, 15):\n    signal.signal(n, signal.SIG_IGN)"),
}

# Something must hold them; None where more than one verdict is right, but never `passed`.
WRONG: dict[str, tuple[Outcome | None, Program]] = {
    "fork bomb": (None, doing("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass")),
    "thread bomb": ("error", doing("import threading, time\nwhile True:\n"
                                   "    threading.Thread(target=time.sleep, args=(60,)).start()")),  # fmt: skip
    "shell fork bomb": (None, doing("import os\nos.system('f() { f | f & }; f')\nwhile True:\n    pass")),
    "memory bomb": ("memory", doing("kept = []\nwhile True:\n    kept.append(bytearray(1 << 20))")),
    "memory bomb of many processes": (
        "memory",
        doing(
            "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        kept = bytearray(80 << 20)\n"
            "        time.sleep(60)\ntime.sleep(60)"
        ),
    ),
    "one gigabyte of text": ("memory", doing("return len('x' * (1 << 30))")),
    "memory bomb that catches errors": (
        None,
        doing("kept = []\nwhile True:\n    try:\n        kept.append(bytearray(1 << 20))\n"
              "    except MemoryError:\n        pass"),
    ),
    "a file without end": ("error", doing("with open('/tmp/f', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))")),
    "files without end": ("error", doing("for n in range(1 << 20):\n    open(f'/tmp/{{n}}', 'wb').write(bytes(1 << 20))".replace("{{", "{").replace("}}", "}"))),
    "shared memory without end": ("error", doing("for n in range(1 << 20):\n    open(f'/dev/shm/{n}', 'wb').write(bytes(1 << 20))")),
    "descriptors without end": ("error", doing("import os\nwhile True:\n    os.dup(1)")),
    "endless loop": ("timeout", doing("while True:\n    pass")),
    "endless loop that ignores its limit": (
        "timeout",
        doing("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass"),
    ),
    "endless regular expression": ("timeout", doing("import re\nreturn re.match('(a+)+$', 'a' * 60 + 'b')")),
    "endless sleep": ("timeout", doing("import time\ntime.sleep(1000)")),
    "stops itself": ("timeout", doing("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)")),
    "waits for input": ("error", doing("return input()")),
    "endless output": ("output_limit", doing("while True:\n    print('x' * 1000)")),
    "endless errors": ("output_limit", doing("import os\nwhile True:\n    os.write(2, b'x' * 1000)")),
    "deep recursion": ("error", doing("return f(x + 1)")),
    "deep recursion of C": (None, doing("import sys\nsys.setrecursionlimit(1 << 30)\nreturn f(x)")),
    "deep nesting": (None, Program("x = " + "[" * 5000 + "]" * 5000)),
    "a segmentation fault": ("error", doing("import ctypes\nctypes.string_at(0)")),
    "kills everybody": ("error", doing("import os, signal\nos.kill(-1, signal.SIGKILL)\nwhile True:\n    pass")),
    "kills its parent": ("error", doing("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nwhile True:\n    pass")),
    "kills the first process": (None, doing("import os, signal\nos.kill(1, signal.SIGKILL)\nreturn 0")),
    "kills processes one by one": (
        "error",
        doing("import os\nfor pid in range(1, 40000):\n    try:\n        pid == os.getpid() or os.kill(pid, 9)\n"
              "    except OSError:\n        pass\nwhile True:\n    pass"),
    ),
    "exits early": ("error", doing("import sys\nsys.exit(0)")),
    "exits early for good": ("error", doing("import os\nos._exit(0)")),
    "exits while it is defined": ("error", told("raise SystemExit(0)")),
    "replaces itself": ("error", doing("import os\nos.execv('/bin/true', ['true'])")),
    "is no Python": ("syntax", Program("def f(x:\n    return x + 1", TESTS, "f")),
    "holds a null character": ("syntax", Program("x = '\0'", TESTS, "f")),
    "defines nothing": ("error", Program("pass", TESTS, "f")),
    "leaves no tests to run": ("failed", doing("import builtins\nbuiltins.exec = lambda *_: None\nreturn 0")),
    "replaces exec while it is defined": (
        "failed",
        Program("import builtins\nbuiltins.exec = lambda *_: None\ndef check(c):\n    pass\ndef f(x):\n    return 0", TESTS, "f"),
    ),
    "makes assertions harmless": (
        None,
        doing("import builtins\nbuiltins.AssertionError = builtins.BaseException = ValueError\nreturn 0"),
    ),
    "replaces the tests": ("failed", doing("global check\ncheck = lambda c: None\nreturn 0")),
    "equals everything": (
        "failed",
        Program("class All:\n    def __eq__(self, other):\n        return True\n\ndef f(x):\n    return All()", TESTS, "f"),
    ),
    "answers for the harness": (
        None,
        doing("import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'ready\\npassed 0.1 \\n')\n"
              "    except OSError:\n        pass\nos._exit(0)"),
    ),
    "forks and lets the child answer": ("failed", doing("import os\nreturn x + 1 if os.fork() == 0 else 0")),
    "raises an exception that cannot be shown": (
        "error",
        Program("class E(Exception):\n    def __str__(self):\n        raise self\n\ndef f(x):\n    raise E", TESTS, "f"),
    ),
}  # fmt: skip

# Each raises unless the wall holds: the verdict is `passed` where it did.
FORBIDDEN: dict[str, str] = {
    "read /etc/shadow": "open('/etc/shadow').read()",
    "read /etc/passwd": "open('/etc/passwd').read()",
    "read a secret by its path": "open('{folder}/secret').read()",
    "follow a link to a secret": "import os\nos.symlink('{folder}/secret', '/tmp/link')\nopen('/tmp/link').read()",
    "reach a secret through /proc": "open('/proc/1/root{folder}/secret').read()",
    "reach a secret through a working folder": "open('/proc/1/cwd{folder}/secret').read()",
    "list homes": "import os\nos.listdir('/home')",
    "write into the root": "open('/escaped', 'w')",
    "write into the system": "open('/usr/escaped', 'w')",
    "write into Python": "import os\nopen(os.__file__, 'a')",
    "write a secret's folder": "open('{folder}/escaped', 'w')",
    "write into devices": "open('/dev/escaped', 'w')",
    "read the disk": "import os\nos.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))",
    "become root": "import os\nos.setuid(0)\nassert False",
    "mount": "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
             "if libc.mount(b'none', b'/tmp', b'tmpfs', 0, None): raise OSError(ctypes.get_errno(), 'mount')",
    "make namespaces": "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                       "if libc.unshare(0x10000000): raise OSError(ctypes.get_errno(), 'unshare')",
    "clone into namespaces": "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                             "pid = libc.syscall(56, 0x10000011, 0, 0, 0, 0)\n"
                             "import os\nif pid == 0: os._exit(0)\n"
                             "if pid < 0: raise OSError(ctypes.get_errno(), 'clone')",
    "trace its parent": "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                        "if libc.ptrace(16, os.getppid(), 0, 0): raise OSError(ctypes.get_errno(), 'ptrace')",
    "hide memory in a file": "import os\nos.memfd_create('hidden')",
    "call the network's neighbour": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)",
    "call out": "import socket\nsocket.create_connection(('1.1.1.1', 53), 2)",
    "look up a name": "import socket\nsocket.getaddrinfo('example.com', 80)",
    "talk to the hypervisor": "import socket\nsocket.socket(40, socket.SOCK_STREAM)",
    "take the host's name": "import socket\nsocket.sethostname('mine')",
    "raise its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "change the kernel's settings": "open('/proc/sys/kernel/hostname', 'w').write('mine')",
}  # fmt: skip
