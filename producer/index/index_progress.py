"""Bring the index of an experiment up to date, and show the progress."""

from __future__ import annotations

from models.core.experiment.experiment import Experiment
from producer.index import require_passages
from producer.index.build_index import Index, Progress, build_index, learn_index, needs_learning
from producer.safe_console import messages, progress_bar
from storage.settings import Settings


def bring_up_to_date(experiment: Experiment, settings: Settings) -> tuple[Index, int]:
    """Return the index, and the number of examples it learned from; 0 if no search learns."""
    passages = require_passages(experiment)
    with progress_bar() as progress:

        def show_progress(doing: str, what: str) -> Progress:
            bar = progress.add_task(f"{doing} {what}", total=None, visible=False)

            def show(done: int, total: int) -> None:
                if progress.disable and not progress.tasks[bar].visible:
                    messages().print(f"{doing} {total:,} {what}")
                progress.update(bar, completed=done, total=total, visible=True)

            return show

        index = build_index(
            passages,
            settings.milvus,
            settings.root,
            progress=show_progress("encoding", "passages"),
        )
        learned = 0
        if needs_learning(passages):
            learned = learn_index(
                experiment, settings.root, show_progress("learning from", "views of train examples")
            )
    return index, learned
