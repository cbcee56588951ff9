"""Programs that try to get more of a machine than their limits allow: `limit | name`, then the code.

A program that is not stopped says what it holds, and keeps it for a while.
"""

from __future__ import annotations

from models.core.programs import Program, ProgramLimits
from tests.support.hostile import sections

LIMITS = ProgramLimits(cpu_seconds=3, wall_seconds=15, memory_mb=128, disk_mb=8, processes=12, output_kb=64)
_TOOLS = """
import ctypes, fcntl, mmap, os, resource, select, signal, socket, threading, time
libc = ctypes.CDLL(None, use_errno=True)
SUPERVISOR = os.getppid()
def attempt(action, *arguments):
    try:
        return action(*arguments)
    except (OSError, ValueError, MemoryError, RuntimeError):
        return None
def until_refused(action, most=1 << 20):
    kept = []
    while len(kept) < most:
        try:
            kept.append(action())
        except (OSError, MemoryError, RuntimeError):
            break
    return kept
def fill(megabytes):
    return until_refused(lambda: bytearray(b'x' * (1 << 20)), megabytes)
def hold(*kept):
    print('held', *map(len, kept), flush=True)
    time.sleep(1)
def in_processes(action, count=11):
    for _ in range(count):
        if attempt(os.fork) == 0:
            kept = action()
            time.sleep(4)
            os._exit(0)
    time.sleep(2)
    hold()
def call(function, *arguments):
    value = function(*arguments)
    if value < 0:
        raise OSError(ctypes.get_errno(), 'refused')
    return value
"""

_CODE = sections("""
## memory | one process
hold(fill(1000))
## memory | eleven processes
in_processes(lambda: fill(90))
## memory | eleven, the supervisor stopped
for pid in (SUPERVISOR, 1):
    attempt(os.kill, pid, signal.SIGSTOP)
in_processes(lambda: fill(90))
## memory | eleven, the supervisor interrupted
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU):
    for pid in (SUPERVISOR, 1):
        attempt(os.kill, pid, number)
in_processes(lambda: fill(90))
## memory | eleven, the supervisor starved
attempt(os.sched_setscheduler, SUPERVISOR, os.SCHED_IDLE, os.sched_param(0))
attempt(os.setpriority, os.PRIO_PROCESS, SUPERVISOR, 19)
in_processes(lambda: fill(90))
## memory | eleven, the supervisor limited
for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
    attempt(resource.prlimit, SUPERVISOR, kind, (0, 0))
in_processes(lambda: fill(90))
## memory | eleven, the supervisor overwritten
def overwrite():
    for line in open(f'/proc/{SUPERVISOR}/maps'):
        if ' rw-p ' in line:
            start, end = (int(each, 16) for each in line.split()[0].split('-'))
            with open(f'/proc/{SUPERVISOR}/mem', 'r+b', buffering=0) as memory:
                memory.seek(start)
                memory.write(bytes(end - start))
attempt(overwrite)
in_processes(lambda: fill(90))
## memory | shared mappings
def shared():
    memory = mmap.mmap(-1, 90 << 20)
    return memory, until_refused(lambda: memory.write(b'x' * (1 << 20)), 90)
in_processes(shared)
## memory | files in memory
def hidden():
    file = call(libc.memfd_create, b'x', 0)
    return until_refused(lambda: os.write(file, b'x' * (1 << 20)), 90)
in_processes(hidden)
## memory | System V memory
def segment():
    number = call(libc.shmget, 0, 8 << 20, 0o600)
    libc.shmat.restype = ctypes.c_void_p
    ctypes.memset(libc.shmat(number, None, 0), 1, 8 << 20)
    libc.shmdt(ctypes.c_void_p(libc.shmat(number, None, 0)))
hold(until_refused(segment, 100))
## memory | System V semaphores
hold(until_refused(lambda: call(libc.semget, 0, 32000, 0o600), 100))
## memory | unread Unix sockets
def pair():
    ends = socket.socketpair()
    for end in ends:
        attempt(end.setsockopt, socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
        end.setblocking(False)
        until_refused(lambda: end.send(b'x' * 32768))
    return ends
in_processes(lambda: until_refused(pair))
## memory | unread sockets of a network
def connection():
    server = socket.create_server(('127.0.0.1', 0))
    ends = socket.create_connection(server.getsockname()), server.accept()[0]
    server.close()
    for end in ends:
        attempt(end.setsockopt, socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
        end.setblocking(False)
        until_refused(lambda: end.send(b'x' * 65536))
    return ends
in_processes(lambda: until_refused(connection))
## pipes of the kernel | unread pipes
def pipe():
    ends = os.pipe()
    attempt(fcntl.fcntl, ends[1], 1031, 1 << 20)
    os.set_blocking(ends[1], False)
    until_refused(lambda: os.write(ends[1], b'x' * 65536))
    return ends
in_processes(lambda: until_refused(pipe))
## memory | large pages lent to pipes
class Piece(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
ends = []
def lend():
    memory = mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    attempt(memory.madvise, 14)
    memory.write(b'x' * (4 << 20))
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    huge = (start + (2 << 20) - 1) >> 21 << 21
    piece = Piece(huge, 1)
    if not ends or len(ends) % 16 == 0:
        ends.append(os.pipe())
    call(libc.vmsplice, ends[-1][1], ctypes.byref(piece), 1, 2)
    ends.append(None)
hold(until_refused(lend, 300))
## files | empty files
number = iter(range(1 << 24))
hold(until_refused(lambda: os.close(os.open(f'/tmp/{next(number)}', os.O_CREAT)), 300000))
## files | links with long names
number = iter(range(1 << 24))
hold(until_refused(lambda: os.symlink('x' * 120, f'/dev/shm/{next(number):0>240}'), 200000))
## disk | both folders
for folder in ('/tmp', '/dev/shm'):
    with open(f'{folder}/f', 'wb', buffering=0) as file:
        until_refused(lambda: os.write(file.fileno(), bytes(1 << 20)), 1000)
hold()
## disk | a file with holes, mapped
with open('/tmp/f', 'w+b') as file:
    attempt(file.truncate, 1 << 30)
    with mmap.mmap(file.fileno(), 0) as memory:
        for place in range(0, len(memory), 4096):
            memory[place] = 1
hold()
## kernel objects | events that nobody reads
watches = until_refused(lambda: call(libc.inotify_init), 128)
for watch in watches:
    libc.inotify_add_watch(watch, b'/tmp', 0xfff)
for number in range(16384 if watches else 0):
    name = f'/tmp/{number:0>250}'
    os.close(os.open(name, os.O_CREAT))
    os.unlink(name)
hold(watches)
## kernel objects | pending signals
signal.pthread_sigmask(signal.SIG_BLOCK, {34})
hold(until_refused(lambda: call(libc.sigqueue, os.getpid(), 34, None)))
## kernel objects | timers
timer = ctypes.c_void_p()
hold(until_refused(lambda: call(libc.timer_create, 1, None, ctypes.byref(timer))))
## kernel objects | message queues
hold(until_refused(lambda: call(libc.mq_open, b'/x', os.O_CREAT | os.O_RDWR, 0o600, None), 1))
## processes | forks
def forks():
    while True:
        attempt(os.fork)
forks()
## processes | threads
hold(until_refused(lambda: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()))
## descriptors | duplicates
hold(until_refused(lambda: os.dup(0)))
## processor time | one endless loop
while True:
    pass
## processor time | eleven endless loops
for _ in range(11):
    attempt(os.fork)
while True:
    pass
## processor time | a loop in one child after the other
while True:
    child = attempt(os.fork)
    if child == 0:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        os._exit(0)
    attempt(os.wait)
## wall time | a long sleep
time.sleep(3600)
## output | a flood
while True:
    os.write(1, bytes(65536))
## output | a flood of reports
for descriptor in range(3, 256):
    attempt(os.set_blocking, descriptor, False)
    until_refused(lambda: os.write(descriptor, bytes(65536)), 1000)
hold()
""")
# By name: the limit that is tried, and the program.
PROBES = {
    name: (limit, Program(_TOOLS + code))
    for name, limit, code in ((*reversed(title.split(" | ")), code) for title, code in _CODE.items())
}
