"""The bulk job: rows of prompts in, a dataset of videos and its manifest out."""
