"""Plans runs, feeds the queues, shows progress, prints tables. One command line: `starmill`."""
