"""Programs that pass if the sandbox forbids what they try.

`{port}` is where a server listens on this machine, `{folder}` a folder of this machine that holds a file
`secret`.
"""

from __future__ import annotations

import textwrap

from tests.support.hostile import sections


def _attempt(code: str) -> str:
    return (
        f"try:\n{textwrap.indent(code, '    ')}\nexcept (OSError, ValueError) as error:\n    print(error)\n"
        + ("else:\n    raise SystemError('it was allowed')\n")
    )


FORBIDDEN = {
    name: _attempt(code)
    for name, code in sections("""
## read /etc/shadow
open('/etc/shadow').read()
## read /etc/passwd
open('/etc/passwd').read()
## read a secret by its path
open('{folder}/secret').read()
## follow a link to a secret
import os
os.symlink('{folder}/secret', '/tmp/link')
open('/tmp/link').read()
## reach a secret through the first process
open('/proc/1/root{folder}/secret').read()
## reach a secret through a working folder
open('/proc/1/cwd{folder}/secret').read()
## list homes
import os
os.listdir('/home')
## write into the root
open('/escaped', 'w')
## write into the system
open('/usr/escaped', 'w')
## write into Python
import os
open(os.__file__, 'a')
## write beside a secret
open('{folder}/escaped', 'w')
## write into devices
open('/dev/escaped', 'w')
## make a disk
import os
os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))
## become root
import os
os.setuid(0)
## mount
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'none', b'/tmp', b'tmpfs', 0, None):
    raise OSError(ctypes.get_errno(), 'mount')
## make namespaces
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000):
    raise OSError(ctypes.get_errno(), 'unshare')
## trace its parent
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, os.getppid(), 0, 0):
    raise OSError(ctypes.get_errno(), 'ptrace')
## hide memory in a file
import os
os.memfd_create('hidden')
## call this machine
import socket
socket.create_connection(('127.0.0.1', {port}), 2)
## call out
import socket
socket.create_connection(('192.0.2.1', 53), 2)
## look up a name
import socket
socket.getaddrinfo('example.com', 80)
## talk to the hypervisor
import socket
socket.socket(40, socket.SOCK_STREAM)
## take another name
import socket
socket.sethostname('mine')
## raise its limits
import resource
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
## change the kernel's settings
open('/proc/sys/kernel/hostname', 'w').write('mine')
""").items()
}

# Prints all that it finds of the process that runs it, and fails if it gets through to a socket.
SEARCH = """
import glob, os, socket, sys
print(dict(os.environ))
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        print(path, open(path, "rb").read().decode().replace("\\0", " "))
    except OSError as error:
        print(path, error.strerror)
for path in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        print(path, os.readlink(path))
        if os.path.isfile(path):
            print(open(path).read(4096))
    except OSError as error:
        print(path, error.strerror)
system = ("/proc", "/dev", "/usr", "/lib", "/lib64", "/bin", "/etc/alternatives", sys.base_prefix)
for top, folders, files in os.walk("/"):
    folders[:] = [
        name for name in folders
        if os.path.join(top, name) not in (*system, *sys.path) and name != "site-packages"
    ]
    for name in files:
        print("file", os.path.join(top, name))
for family, address in (
    (socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_INET, ("192.0.2.1", 443)),
    (socket.AF_UNIX, "{folder}/socket"[:100]),
):
    try:
        socket.socket(family).connect(address)
    except OSError:
        continue
    raise SystemError("it was allowed")
assert [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]] == ["lo"]
"""
