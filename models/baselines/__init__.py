"""Baselines: other methods that make long videos with the same base model, without any training.

    text.py         the base model with its text alone, which all of them use
    free_noise.py   FreeNoise (arXiv 2310.15169)
    co_denoising.py Gen-L-Video (arXiv 2305.18264)
    last_frame.py   continuation from the last frame by replacement (arXiv 2204.03458)
    added.py        an ablation rather than a baseline: CAM's condition added, without attention

A baseline is a function of a TextModel and a length; it gives latents, "t c h w".
"""
