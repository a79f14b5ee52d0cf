"""The conversion of published checkpoints into a bundle, tensor by tensor: a file of any size needs little memory."""
