"""Executes the units of the queues. Start it with `celery -A worker worker -Q QUEUES -P threads -c N`."""
