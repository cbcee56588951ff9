"""The command line, and the one place where errors become exit codes.

0 done, 1 finished with failures, 2 usage or configuration, 3 interrupted."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TextIO

import typer

from models.adapters.private_files import private_files
from models.core.display import visible
from models.core.errors import StarmillError
from producer.local.child_process import start_early_worker, stop_early_worker

FINISHED_WITH_FAILURES = 1
UNFORESEEN = 1  # as Python ends after a traceback
USAGE = 2
INTERRUPTED = 3
TYPER_INTERRUPTED = 130
STDERR = 2  # the last of the numbers of standard streams


@private_files()
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `starmill`."""
    _prepare_streams()
    stdout = sys.stdout
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if argv == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"starmill {version('starmill')}\n")
        sys.exit(0)
    try:
        if _runs_here(argv):
            start_early_worker()
        from producer.cli.commands import app

        _escape_warnings()
        code = app(args=argv or ["--help"], prog_name="starmill", standalone_mode=False)
        stdout.flush()
        if code == TYPER_INTERRUPTED:
            code = INTERRUPTED
    except typer.TyperException as error:
        # A message may hold a list of choices, one in each line.
        message = " ".join(error.format_message().split()).removesuffix(".").replace("Value error, ", "")
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "starmill"
        _print_error(f"{message}; see `{command} --help`")
        code = USAGE
    except StarmillError as error:
        _print_error(str(error))
        code = USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        code = _end_without_reader(error, stdout)
    except Exception as error:  # noqa: BLE001 (the last place that sees it)
        message = _explain(error)
        if message:
            _print_error(message)
        else:
            sys.stderr.write(visible(traceback.format_exc()))
        code = USAGE if message else UNFORESEEN
    finally:
        stop_early_worker()
    sys.exit(code or 0)


def _end_without_reader(error: BaseException, stdout: TextIO) -> int:
    """Return the code of a command whose reader has ended, as `head` does. Raise another error."""
    # Typer exits for a broken pipe, and leaves a standard output of its own.
    if isinstance(error, SystemExit) and sys.stdout is stdout:
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    return 0


def _prepare_streams() -> None:
    """Open closed standard streams on the null device, or other files would take their numbers. Have no
    text fail that is written."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(STDERR, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Data may have letters that the encoding of a terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")


def _escape_warnings() -> None:
    """Make the warnings of a command that configures no logging visible, too."""
    if logging.lastResort:
        logging.lastResort.setFormatter(_VisibleMessages())


class _VisibleMessages(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _runs_here(argv: Sequence[str]) -> bool:
    """Return whether the command starts a worker on this machine, if nothing is wrong with it."""
    return "--help" not in argv and (argv[:1] in (["generate"], ["demo"]) or "--local" in argv)


def _print_error(message: str) -> None:
    sys.stderr.write(f"starmill: {visible(message)}\n")


def _explain(error: Exception) -> str:
    """Return a line about an error of a service or of a damaged ledger; empty if it is a fault of ours."""
    # Imported late: they cost as much as a small command.
    from producer.cli.unexpected import explain

    return explain(error)
