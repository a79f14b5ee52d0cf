"""The claims of StreamingT2V (arXiv 2403.14773) that can be tested here, and Longtake's own, as hypotheses.

The paper's numbers belong to other networks, prompts and lengths, so only the direction is tested. Its concatenated
condition (SCuts .24), face similarity and LPIPS need training or networks that Longtake does not have.
"""

from longtake.pipelines.ablation.statistics import Claim

# (claim, the paper's evidence, metric, variant with the greater value, variant with the smaller value)
CLAIMS = tuple(
    Claim(*words)
    for words in (
        ("An added condition makes cuts that CAM does not", "SCuts .284 > .03", "scuts", "added", "full"),
        ("... and seams", "section 4.1", "seam_ratio", "added", "full"),
        ("Chunks without CAM begin with a cut", "naive extension: hard cuts", "scuts", "no-cam", "full"),
        ("... and show seams", "section 4.1", "seam_ratio", "no-cam", "full"),
        ("APM keeps the look of the anchor", "identity 94.95 > 93.42", "clip_anchor", "full", "no-apm"),
        ("APM keeps the object's colour to the end", "section 4.2", "color_end", "full", "no-apm"),
        ("Shared noise makes motion more even", "8.72 > 6.01", "flow_std", "independent", "shared-noise"),
        ("Randomized blending makes it still more even", "6.01 > 3.32", "flow_std", "shared-noise", "symmetric"),
        ("Both together make it more even", "8.72 > 3.32", "flow_std", "independent", "symmetric"),
        ("Shared noise, fresh at every step", "8.72 > 6.01", "flow_std", "noisy-independent", "noisy-shared-noise"),
        ("... and randomized blending", "6.01 > 3.32", "flow_std", "noisy-shared-noise", "noisy-symmetric"),
        ("... and both together", "8.72 > 3.32", "flow_std", "noisy-independent", "noisy-symmetric"),
        ("Shared noise makes window borders less visible", "figure 4", "seam_ratio", "independent", "shared-noise"),
        ("Randomized blending makes them still less visible", "figure 4", "seam_ratio", "shared-noise", "symmetric"),
        ("FreeNoise hardly moves", "near-static videos", "ofs", "full", "free-noise"),
        ("FreeNoise has a worse MAWE", "1298.4 > 52.3", "mawe_cvpr", "free-noise", "full"),
        ("FreeNoise follows the text less", "CLIP 31.73 > 31.55", "clip_score", "full", "free-noise"),
        ("Gen-L-Video stagnates", "section 2", "ofs", "full", "co-denoising"),
        ("Gen-L-Video loses quality", "section 2", "mawe_cvpr", "co-denoising", "full"),
        ("Continuation from the last frame stagnates", "image-to-video methods do", "ofs", "full", "last-frame"),
        ("... is inconsistent between chunks", "section 2, of I2VGen-XL and SVD", "seam_ratio", "last-frame", "full"),
        ("... degrades over time", "section 2, of SVD", "drift_color", "last-frame", "full"),
        ("... has a worse MAWE", "857.2, 2846.4 > 52.3", "mawe_cvpr", "last-frame", "full"),
        ("SVD has a worse MAWE", "857.2 > 52.3", "mawe_cvpr", "svd", "full"),
        ("I2VGen-XL has a worse MAWE", "2846.4 > 52.3", "mawe_cvpr", "i2vgen-xl", "full"),
        ("SparseCtrl has a worse MAWE", "6069.7 > 52.3", "mawe_cvpr", "sparse-ctrl", "full"),
        ("SparseCtrl makes more cuts", "SCuts 5.48 > .04", "scuts", "sparse-ctrl", "full"),
        ("Causal coupling makes motion less even", "ours", "flow_std", "causal", "symmetric"),
        ("Causal coupling is more even than no blending", "ours", "flow_std", "shared-noise", "causal"),
        ("An overlap of 4 is less even than one of 8", "ours", "flow_std", "overlap-4", "symmetric"),
        ("An overlap of 8 is less even than one of 12", "ours", "flow_std", "symmetric", "overlap-12"),
    )
)
# In the paper's order, from uneven motion to even motion.
ORDERS = (
    ("independent", "shared-noise", "symmetric"),
    ("noisy-independent", "noisy-shared-noise", "noisy-symmetric"),
)
