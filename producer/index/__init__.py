"""The index of an experiment: built, taught by its train split, measured."""
