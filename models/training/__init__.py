"""Training of CAM and APM: the loss of a step, and the interface of a training stage."""
