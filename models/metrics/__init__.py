"""Metrics of videos: seams, drift, motion, cuts, CLIP scores, and the quality gate."""
