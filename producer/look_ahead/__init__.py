"""The calls, tokens, dollars and hours of an experiment, before they are paid."""
