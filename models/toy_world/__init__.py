"""The laboratory's world of moving shapes, and the recipes of the weights trained on it. Not installed."""
