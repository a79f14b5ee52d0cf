"""Frames and video bytes: checks, conversion, H.264 in mp4, contact sheets."""
