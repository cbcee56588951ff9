"""A large run on PostgreSQL with many workers, through kills of every process, measured by phase."""
