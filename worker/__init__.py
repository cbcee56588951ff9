"""Consumes units from the queues. Started by Celery: `celery -A worker worker -Q QUEUES -P threads -c N`."""
