"""Build the passage index of an experiment, train its encoder, and measure its search."""

from __future__ import annotations

from models.core.errors import ExperimentError
from models.core.experiment.experiment import Experiment
from models.core.experiment.passages import Passages


def require_passages(experiment: Experiment) -> Passages:
    """Return the section `passages`. Raise ExperimentError if there is none."""
    if experiment.passages is None:
        raise ExperimentError(
            experiment.name, "passages", "is not set, so there is no documentation to search; add the section"
        )
    return experiment.passages
