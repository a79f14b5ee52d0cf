"""A world of moving shapes for development, and the recipes of the weights trained on it. Not installed."""
