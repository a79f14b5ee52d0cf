// The preview follows the refined video: at the same moment, and paused together with it.
for (const article of document.querySelectorAll("article")) {
  const [video, low] = article.querySelectorAll("video");
  if (!low) continue;
  const follow = () => { if (Math.abs(low.currentTime - video.currentTime) > .1) low.currentTime = video.currentTime; };
  for (const moment of ["timeupdate", "seeked", "play", "pause"]) video.addEventListener(moment, follow);
  video.addEventListener("play", () => low.play());
  video.addEventListener("pause", () => low.pause());
}
