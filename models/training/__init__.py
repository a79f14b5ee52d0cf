"""Training of CAM and APM: the loss of a step, and what a training stage has to offer."""
