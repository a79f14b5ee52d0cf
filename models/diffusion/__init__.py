"""Diffusion arithmetic: noise levels, samplers, blending and addressed noise."""
