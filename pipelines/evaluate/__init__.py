"""The evaluation of videos: a row of figures per video, and pages that show them."""
