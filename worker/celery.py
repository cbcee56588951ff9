"""The Celery application that `celery -A worker` finds. Nothing is read or opened before it is used."""

from __future__ import annotations

from celery import Celery

from storage.broker import celery_settings
from storage.settings import load_settings

app = Celery("starmill", include=["worker.tasks", "worker.lifecycle"])
app.add_defaults(lambda: celery_settings(load_settings()))
