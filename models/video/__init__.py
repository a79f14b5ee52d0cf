"""Frames and video bytes: reading any video, checks, conversion, H.264 in mp4, contact sheets."""
