"""A line says what it is about, in both formats, and libraries cannot print what is asked."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from storage.logs import about, configure_logging, set_about

log = logging.getLogger("starmill.test")


def test_text_log_names_the_subject_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "text", "teacher@host")
    with about(run="demo-1", stage="answer"), about(unit="17,18"):
        log.info("again in %.1f s", 2)
    log.info("alone")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(
        "INFO starmill.test run=demo-1 stage=answer unit=17,18 worker=teacher@host again in 2.0 s"
    )
    assert second.endswith("INFO starmill.test worker=teacher@host alone")


def test_json_has_a_key_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json", "teacher@host")
    with about(run="demo-1", unit="17"):
        log.warning('a "quoted"\nline')
    line = json.loads(capsys.readouterr().err)
    del line["time"]
    assert line == {"level": "WARNING", "logger": "starmill.test", "run": "demo-1", "unit": "17",
                    "worker": "teacher@host", "message": "a \"quoted\"\nline"}  # fmt: skip


def test_threads_are_about_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "text")

    def other() -> None:
        log.info("other")
        set_about(run="second")
        log.info("other")

    with about(run="first"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        log.info("own")
    ends = [line.partition("starmill.test ")[2] for line in capsys.readouterr().err.splitlines()]
    assert ends == ["other", "run=second other", "run=first own"]


def test_a_library_that_turns_itself_up_is_not_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """The openai library does so if OPENAI_LOG is set."""
    configure_logging("DEBUG", "text")
    library = logging.getLogger("openai._base_client")
    library.setLevel(logging.DEBUG)
    try:
        library.debug("Request options: a prompt")
        library.warning("too old")
        logging.getLogger("openai_server").debug("another")
    finally:
        library.setLevel(logging.NOTSET)
    stderr = capsys.readouterr().err
    assert "a prompt" not in stderr
    assert "too old" in stderr
    assert "another" in stderr
