"""Draw what the pages explain: the pipeline, rows and units, and a death."""

from __future__ import annotations

from tests.pictures.drawing import Drawing

WIDTH = 640


def pipeline() -> str:
    """Draw the way of a row through the paper's pipeline, and who does the work."""
    draw = Drawing(WIDTH, 430, "A row gets columns step by step; a producer plans, workers ask models")
    draw.text(20, 32, "The way of a row: each step adds a column", "strong")
    steps = (
        ("row", "question", "answer"),
        ("retrieve", "+ passages", "documentation"),
        ("generate", "+ rationale", "by the teacher"),
        ("judge", "+ verdict", "right or wrong"),
    )
    for number, lines in enumerate(steps):
        draw.box(20 + 155 * number, 48, 135, 72, "main" if number else "box", *lines)
        if number:
            draw.arrow(f"M{20 + 155 * number - 20} 84 h18")
    draw.arrow("M552 120 v28 h-155 v-26")
    draw.text(304, 142, "with a hint", "small")
    draw.text(430, 142, "wrong: once more", "small")
    draw.arrow("M600 120 v84 h-20")
    draw.box(330, 180, 250, 48, "done", "synthetic rows", "JSONL, CSV, Parquet, datasets")
    draw.arrow("M330 204 h-28")
    draw.box(20, 180, 280, 48, "done", "students answer a grid", "a table of scores with intervals")
    draw.text(20, 272, "Who does it", "strong")
    draw.box(20, 288, 130, 72, "box", "producer", "plans units,", "feeds queues")
    draw.box(185, 288, 130, 72, "box", "Redis", "unit ids only,", "one queue a model")
    draw.box(350, 288, 120, 72, "box", "workers", "on a laptop", "or on many")
    draw.box(510, 288, 110, 72, "box", "models", "API, vLLM,", "embedded")
    for x, length in ((150, 33), (315, 33), (470, 38)):
        draw.arrow(f"M{x} 324 h{length}")
    draw.box(20, 384, 600, 32, "main", "ledger (SQL): every unit, answer and dollar; it decides")
    draw.arrow("M85 360 v22")
    draw.arrow("M410 360 v22")
    return draw.svg


def rows() -> str:
    """Draw rows, columns, steps and units in one table."""
    draw = Drawing(WIDTH, 314, "Rows and columns of data; steps add columns; each cell of a step is a unit")
    draw.text(165, 30, "columns of your file", "middle small")
    draw.text(455, 30, "columns that steps add", "middle small")
    for number, name in enumerate(("question", "level")):
        draw.box(50 + 120 * number, 40, 110, 48, "box", name)
    for number, name in enumerate(("explain", "check", "again")):
        draw.box(290 + 110 * number, 40, 100, 48, "main", name, "step")
    for number in range(3):
        y = 102 + 58 * number
        draw.text(10, y + 28, f"row {number}", "small")
        draw.box(50, y, 110, 46, "box")
        draw.text(105, y + 28, ("Why is …?", "What is …?", "How do …?")[number], "middle small")
        draw.box(170, y, 110, 46, "box")
        draw.text(225, y + 28, ("low", "high", "low")[number], "middle small")
    states = (
        ("done", "done"), ("done", "right"), ("box", "skipped"),
        ("done", "done"), ("busy", "asked"), ("open", "waits"),
        ("busy", "asked"), ("open", "waits"), ("open", "waits"),
    )  # fmt: skip
    for number, (kind, word) in enumerate(states):
        x, y = 290 + 110 * (number % 3), 102 + 58 * (number // 3)
        draw.box(x, y, 100, 46, kind)
        draw.text(x + 50, y + 28, word, "middle small")
    draw.text(20, 296, "Each cell of a step is a unit: one row, one step, one sample.", "strong")
    return draw.svg


def death() -> str:
    """Draw what happens to a unit whose worker is killed, and whose message is lost."""
    draw = Drawing(
        WIDTH, 372, "A worker dies; its lease ends; another worker takes the unit and commits once"
    )
    lanes = ("worker A", "ledger", "Redis", "worker B", "disk")
    for number, name in enumerate(lanes):
        y = 58 + 70 * number
        draw.text(16, y + 5, name, "strong")
        draw.arrow(f"M96 {y} H624")
    a, ledger, redis, b, disk = (58 + 70 * number for number in range(5))
    draw.text(96, 26, "time", "small")
    draw.box(104, a - 18, 136, 36, "busy", "asks the model")
    draw.cross(258, a)
    draw.text(272, a - 8, "killed", "small")
    draw.box(104, ledger - 18, 180, 36, "busy", "claimed by A: a lease")
    draw.box(290, ledger - 18, 66, 36, "box", "ready")
    draw.box(362, ledger - 18, 146, 36, "busy", "claimed by B")
    draw.box(514, ledger - 18, 84, 36, "done", "done")
    draw.box(104, redis - 18, 92, 36, "box", "message")
    draw.cross(214, redis)
    draw.text(228, redis - 8, "lost", "small")
    draw.box(290, redis - 18, 186, 36, "box", "the feeder sends again")
    draw.box(372, b - 18, 156, 36, "busy", "looks, then asks")
    draw.box(104, disk - 18, 180, 36, "done", "answers that arrived")
    draw.arrow(f"M172 {a + 18} V{ledger - 20}")
    draw.arrow(f"M323 {ledger + 18} V{redis - 20}")
    draw.arrow(f"M420 {redis + 18} V{b - 20}")
    draw.arrow(f"M500 {b - 18} V{ledger + 20}")
    draw.arrow(f"M284 {disk} H450 V{b + 20}")
    return draw.svg


DRAWINGS = {"pipeline.svg": pipeline, "rows.svg": rows, "death.svg": death}
