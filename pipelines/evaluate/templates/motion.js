// With reduced motion, videos are started by hand.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
if (still) for (const video of document.querySelectorAll("video")) { video.autoplay = false; video.pause(); }
