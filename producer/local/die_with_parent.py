"""`die_with_parent.py PARENT COMMAND...` becomes COMMAND, which ends when the process PARENT ends. Linux
only.

It is a program of its own: code between fork and exec would run among the locks and fork handlers of whatever
the parent has loaded, and those of gRPC end the child now and then.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("its parent has ended")
    try:
        os.execvp(command[0], command)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
