"""python -m tests.bench.coverage: how often the 95 % intervals of reports hold the true score, as a table.

Shares are of simulated answers: an answer repeats that of its question with a chance whose square is the
correlation within questions, else it is drawn anew, and the answers of further seeds repeat a row's alike.
Corpus scores are of questions drawn with replacement from the paper's published answers, whose own score is
the true one; three cells of one model stand for three seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.core.metrics.proportions import share_interval
from models.core.metrics.scores import row_stats
from models.core.metrics.seed_scores import Stats, score_interval, score_of_seeds
from models.core.metrics.significance import Interval
from models.core.words import question_group
from tests.support.pages import REPOSITORY

SHARES_IN_PERCENT = (1, 10, 50)
# Rows, and the questions that they are of where rows are clustered.
SIZES = ((12, 8), (100, 65), (540, 350))
CORRELATIONS = (0.3, 0.8)
SEED_CORRELATION = 0.6
SEEDS = (1, 3)
CORPUS_SCORES = ("bleu4", "char_bleu", "chrf", "token_f1")
ANSWERS = REPOSITORY.parent / "shared" / "data" / "paper" / "completions_visible"
CELLS = ("2_True_False", "2_True_True", "star_2_True_True")
HEADINGS = "| score | rows | questions | correlation | seeds | held, % | missed below | above | width |"


@dataclass
class Coverage:
    """How many of the intervals of a true value hold it, and how many lie above or below it."""

    intervals: list[Interval] = field(default_factory=list)
    below: int = 0
    above: int = 0

    def add(self, interval: Interval, truth: float) -> None:
        self.intervals.append(interval)
        self.below += truth < interval[0]
        self.above += truth > interval[1]

    @property
    def held(self) -> float:
        """The share in percent."""
        return 100 * (1 - (self.below + self.above) / len(self.intervals))

    def line(self, *names: object) -> str:
        """Return a line under HEADINGS."""
        missed = [f"{100 * part / len(self.intervals):.1f}" for part in (self.below, self.above)]
        width = sum(high - low for low, high in self.intervals) / len(self.intervals)
        return f"| {' | '.join(map(str, names))} | {self.held:.1f} | {' | '.join(missed)} | {width:.1f} |"


def share_coverage(
    percent: float, rows: int, questions: int, correlation: float, seeds: int, trials: int
) -> Coverage:
    """Measure `share_interval` on simulated answers."""
    rng = np.random.default_rng(rows)
    of_row = np.concatenate([np.arange(questions), rng.integers(questions, size=rows - questions)])
    shape = (trials, rows, seeds)
    anew = rng.random(shape) < percent / 100
    shared = (rng.random((trials, questions)) < percent / 100)[:, of_row]
    of_rows = np.where(rng.random((trials, rows)) < sqrt(correlation), shared, anew[..., 0])[..., None]
    repeats = rng.random(shape) < (sqrt(SEED_CORRELATION) if seeds > 1 else 1.0)
    right = np.where(repeats, of_rows, anew).sum(axis=2) @ np.eye(questions)[of_row]
    answers = seeds * np.bincount(of_row, minlength=questions)
    coverage = Coverage()
    for parts in right:
        coverage.add(share_interval(parts, answers), percent)
    return coverage


def corpus_coverage(
    population: Stats, questions: NDArray[np.str_], rows: int, trials: int
) -> dict[str, Coverage]:
    """Measure `score_interval` on samples of whole questions, of `rows` rows on average."""
    rng = np.random.default_rng(rows)
    names, of_row = np.unique(questions, return_inverse=True)
    members = [np.flatnonzero(of_row == index) for index in range(len(names))]
    drawn = round(rows * len(names) / len(population))
    truth = {name: score_of_seeds(population, name)[0] for name in CORPUS_SCORES}
    coverages = {name: Coverage() for name in CORPUS_SCORES}
    for _ in range(trials):
        chosen = [members[index] for index in rng.integers(len(names), size=drawn)]
        sample = population[np.concatenate(chosen)]
        clusters = np.repeat(np.arange(drawn), [len(each) for each in chosen])
        for name, coverage in coverages.items():
            coverage.add(score_interval(sample, name, clusters), truth[name])
    return coverages


def read_answers(paths: Sequence[Path]) -> tuple[Stats, NDArray[np.str_]]:
    """Return the stats of files of answers to the same rows, a file a seed: [rows, seeds, WIDTH]; and the
    question of each row."""
    files = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths]
    stats = [[row_stats(row["prediction"], row["reference"]) for row in rows] for rows in files]
    return np.array(stats).swapaxes(0, 1), np.array([question_group(row["question_id"]) for row in files[0]])


def share_lines(trials: int) -> Iterator[tuple[str, float]]:
    for percent, (rows, questions), seeds in product(SHARES_IN_PERCENT, SIZES, SEEDS):
        for correlation in (0.0, *CORRELATIONS):
            clusters = questions if correlation else rows
            coverage = share_coverage(percent, rows, clusters, correlation, seeds, trials)
            yield coverage.line(f"{percent} %", rows, clusters, correlation, seeds), coverage.held


def corpus_lines(trials: int) -> Iterator[tuple[str, float]]:
    for seeds, (rows, _) in product(SEEDS, SIZES):
        answers = read_answers([ANSWERS / f"mosaic-chat__{cell}.jsonl" for cell in CELLS[:seeds]])
        drawn = round(rows * len(set(answers[1])) / len(answers[1]))
        for name, coverage in corpus_coverage(*answers, rows, trials).items():
            yield coverage.line(name, rows, drawn, "as it is", seeds), coverage.held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="samples of a line of shares")
    parser.add_argument("--corpus-trials", type=int, default=300, help="samples of a line of corpus scores")
    options = parser.parse_args()
    started, columns = time.monotonic(), HEADINGS.count("|") - 1
    print(HEADINGS, f"|{'---|' * columns}", sep="\n")
    means = {}
    for kind, lines in (
        ("shares", share_lines(options.trials)),
        ("corpus scores", corpus_lines(options.corpus_trials)),
    ):
        held = []
        for line, share in lines:
            print(line, flush=True)
            held.append(share)
        means[kind] = f"{kind} {sum(held) / len(held):.1f} % (from {min(held):.1f} to {max(held):.1f})"
    print(f"\nHeld on average: {', '.join(means.values())}; {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
