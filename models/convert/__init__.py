"""The tensors of published checkpoints: their names, and their places in the parts of a bundle."""
