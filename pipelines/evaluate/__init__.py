"""The evaluation of videos: a row of metrics per video, and pages that show them."""
