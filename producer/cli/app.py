"""Which commands there are, and where. Nothing of them is loaded before one is called: they are named,
not imported."""

from __future__ import annotations

from producer.cli.lazy import group

index = group("index", "Build and search the passages of an experiment.", {
    "evaluate": "producer.cli.index_evaluate:evaluate_index",
    "train": "producer.cli.index_train:train",
    "quantize": "producer.cli.index_quantize:quantize",
    "build": "producer.cli.index:build",
    "search": "producer.cli.index:search",
})  # fmt: skip
data = group("data", "Fetch documentation, and list what is there; make models of published differences.", {
    "fetch": "producer.cli.data_fetch:fetch",
    "list": "producer.cli.data_list:list_",
    "apply-delta": "producer.cli.data_delta:apply_delta",
    "quality": "producer.cli.quality:data_quality",
    "grow": "producer.cli.grow:grow",
})  # fmt: skip
task = group("task", "Task folders: what models are asked to do, in one folder.", {
    "new": "producer.cli.task:new",
    "check": "producer.cli.task:check",
}, no_args_is_help=True)  # fmt: skip
app = group(
    "starmill",
    "Mills small human seeds into large synthetic reasoning datasets, and measures what they are worth.",
    {
        "run": "producer.cli.run:run",
        "feed": "producer.cli.feed:feed",
        "pause": "producer.cli.pause:pause",
        "resume": "producer.cli.resume:resume",
        "status": "producer.cli.status:status",
        "report": "producer.cli.report:report",
        "export": "producer.cli.export:export",
        "show": "producer.cli.show:show",
        "diff": "producer.cli.diff:diff",
        "quality": "producer.cli.quality:quality",
        "score": "producer.cli.score:score",
        "audit": "producer.cli.audit:audit",
        "failures": "producer.cli.failures:failures",
        "retry": "producer.cli.failures:retry",
        "runs": "producer.cli.runs:runs",
        "doctor": "producer.cli.doctor:doctor",
        "experiments": "producer.cli.experiments:experiments",
        "serve": "producer.cli.serve:serve",
        "index": index,
        "data": data,
        "task": task,
    },
)
