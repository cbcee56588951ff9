"""The index of an experiment, brought up to date with its progress shown."""

from __future__ import annotations

from models.core.experiment.experiment import Experiment
from producer.cli.common import messages, progress_bar
from producer.index.build_index import Index, Progress, build_index, learn_index, needs_learning
from storage.settings import Settings


def bring_up_to_date(experiment: Experiment, settings: Settings) -> tuple[Index, int]:
    """The index, and how many examples it has learned from; 0 where no search of the experiment learns."""
    with progress_bar() as progress:

        def shown(doing: str, what: str) -> Progress:
            bar = progress.add_task(f"{doing} {what}", total=None, visible=False)

            def show(done: int, total: int) -> None:
                if progress.disable and not progress.tasks[bar].visible:
                    messages().print(f"{doing} {total:,} {what}")
                progress.update(bar, completed=done, total=total, visible=True)

            return show

        index = build_index(
            experiment.passages, settings.milvus, settings.root, progress=shown("encoding", "passages")
        )
        learned = 0
        if needs_learning(experiment.passages):
            learned = learn_index(
                experiment, settings.root, shown("learning from", "views of train examples")
            )
    return index, learned
