"""Which documentation a request is shown: settings, rankings and choices, all pure."""
