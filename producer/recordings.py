"""The recordings of an experiment, read before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from models.endpoints import Endpoint
from models.experiment import Experiment
from storage.recordings import read_recording

E = TypeVar("E", bound=Endpoint)


def pin_recordings(experiment: Experiment) -> Experiment:
    """With the hashes of its recordings: another file makes another run, and workers refuse it. Raises
    DatasetError with file, line and reason."""
    students = [_pinned(student) for student in experiment.students]
    pinned = {"teacher": _pinned(experiment.teacher), "students": students}
    if model := experiment.judge.model:
        pinned["judge"] = experiment.judge.model_copy(update={"model": _pinned(model)})
    return experiment.model_copy(update=pinned)


def _pinned(endpoint: E) -> E:
    if not endpoint.recording:
        return endpoint
    recording = read_recording(Path(endpoint.recording), endpoint.recording_sha256)
    return endpoint.model_copy(update={"recording_sha256": recording.digest})
