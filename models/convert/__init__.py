"""Names of the tensors of published checkpoints, as a bundle has them."""
