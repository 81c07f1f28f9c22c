"""A thin trainer: recipes, the stage loop, checkpoints, predictions, the command line."""
