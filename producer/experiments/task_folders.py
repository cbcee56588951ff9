"""Task folders: everything that a user brings for a task of their own.

    task.yaml     `stop`, and the sections of an experiment that the task decides: data, split, dataset,
                  passages, augment, rationale, grid, judge, grow
    *.j2          the prompt templates augment, rationale, answer, verdict, grow, as far as they are used, and
                  export, the prompt of rows for training
    task.py       a parser or a judge, if the rules of Starmill do not fit

Seeds and data are files that task.yaml names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from models.core.errors import ExperimentError, TaskFolderError
from models.core.near_names import did_you_mean
from models.core.prompts.templates import BLOCKS, Template
from producer.experiments.yaml_files import NOT_YAML, parse_yaml, yaml_problem

SHIPPED = Path(__file__).parents[1] / "tasks"
SCAFFOLD = SHIPPED.parent / "scaffold"
DEFAULT = "conala"
# A task may decide these sections; the experiment's own values win.
SECTIONS = ("data", "split", "dataset", "passages", "augment", "rationale", "grid", "judge", "grow")
OWN = ("stop",)
MAX_BYTES = 1_000_000


def shipped_tasks() -> dict[str, str]:
    """Return the name of each shipped task folder, and the first comment line of its task.yaml."""
    return {path.parent.name: first_comment(path) for path in sorted(SHIPPED.glob("*/task.yaml"))}


def first_comment(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()


def find_task(name: str, folder: Path) -> Path:
    """Return the folder of a shipped task, or that at a path from `folder`. Raise ExperimentError."""
    if name in shipped_tasks():
        return SHIPPED / name
    try:
        path = (folder / Path(name).expanduser()).resolve()
        is_folder = path.is_dir()
    except (OSError, ValueError, RuntimeError):
        is_folder = False
    if not is_folder:
        remedy = did_you_mean(name, shipped_tasks(), f"shipped are {', '.join(shipped_tasks())}")
        raise ExperimentError("task", shorten(name, 60), f"no such task folder; {remedy}")
    return path


def read_task(folder: Path, *, for_steps: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the task folder as a run keeps it, and the sections of an experiment that it decides.

    Paths stay as written. Templates are parsed, and nothing is executed. A folder for steps needs no
    task.yaml. Raise TaskFolderError.
    """
    has_config = not for_steps or (folder / "task.yaml").exists()
    config = _read_yaml(folder / "task.yaml") if has_config else {}
    for key in config:
        if key not in (*SECTIONS, *OWN):
            remedy = did_you_mean(str(key), (*SECTIONS, *OWN), f"known are {', '.join((*SECTIONS, *OWN))}")
            raise TaskFolderError(folder / "task.yaml", None, f"unknown key {key}; {remedy}")
    sections = {name: config[name] for name in SECTIONS if config.get(name) is not None}
    for name, section in sections.items():
        if not isinstance(section, dict) and not (name == "data" and isinstance(section, str)):
            raise TaskFolderError(folder / "task.yaml", None, f"{name} must be a mapping of keys to values")
    frozen = {
        "name": folder.name,
        "prompts": _read_prompts(folder),
        "stop": config.get("stop") or [],
        "module": _read_module(folder / "task.py"),
    }
    return frozen, sections


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        config = parse_yaml(_read(path))
    except NOT_YAML as error:
        line, problem = yaml_problem(error)
        raise TaskFolderError(path, line, f"not valid YAML: {problem}") from None
    if not isinstance(config, dict):
        raise TaskFolderError(path, None, f"must be a mapping of {', '.join((*SECTIONS, *OWN))}")
    return config


def _read_prompts(folder: Path) -> dict[str, str]:
    prompts = {}
    for name in BLOCKS:
        path = folder / f"{name}.j2"
        if path.exists():
            prompts[name] = _read(path)
            # Columns are checked with the first rows of the data.
            Template(name, prompts[name], str(path), columns=None)
    return prompts


def _read_module(path: Path) -> str:
    if not path.exists():
        return ""
    source = _read(path)
    try:
        compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise TaskFolderError(path, line, f"is no Python: {getattr(error, 'msg', error)}") from None
    return source


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TaskFolderError(path, None, f"is larger than {MAX_BYTES:,} bytes; is it the right file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TaskFolderError(
            path, None, "is missing; `starmill task new NAME` makes a whole folder"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TaskFolderError(path, None, f"cannot be read: {error}") from None
