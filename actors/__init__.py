"""Thin Ray actors: pools of workers, and calls that survive the loss of one."""
