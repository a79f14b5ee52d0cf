"""Conversion of the published checkpoints into folders of a bundle, whose memory is that of a few megabytes of weights."""
