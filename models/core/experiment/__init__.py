"""The validated experiment: models to ask, options of each step, and the task folder with its prompts."""
