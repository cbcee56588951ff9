"""`--local`: everything a run needs on this machine, started, watched, restarted and stopped."""
