// Helpers of the browser tests, inside the page: `looks.grey("fine")`.

window.looks = {
  /** The commonest value of a video's red channel: frame i of a toy is 40 + i. Null without a picture. */
  grey(name) {
    const video = document.getElementById(name), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    if (!canvas.width) return null;
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const {data} = context.getImageData(0, 0, canvas.width, canvas.height), counts = {};
    for (let i = 0; i < data.length; i += 4) counts[data[i]] = (counts[data[i]] ?? 0) + 1;
    return Number(Object.entries(counts).sort((a, b) => b[1] - a[1])[0][0]);
  },

  /** Whether the first `seconds` of the refined video are buffered without a gap. */
  holds(seconds) {
    const {buffered} = document.getElementById("fine");
    return buffered.length === 1 && buffered.start(0) === 0 && buffered.end(0) > seconds - 0.01;
  },

  /** Moves the slider. */
  seek(frame) {
    const slider = document.getElementById("seek");
    slider.value = frame;
    slider.dispatchEvent(new Event("input"));
  },

  /** Starts recording the number of finished cells of each row in `filled`, at each change. */
  watchTimeline() {
    this.filled = [];
    const count = (row) => document.querySelectorAll(`#${row} i[data-state=done]`).length;
    const look = () => {
      const now = ["chunks", "windows", "segments"].map(count);
      if (String(now) !== String(this.filled.at(-1))) this.filled.push(now);
    };
    const options = {subtree: true, childList: true, attributeFilter: ["data-state"]};
    new MutationObserver(look).observe(document.getElementById("timeline"), options);
  },

  /** [frame, position in percent, text for screen readers], all at one moment. */
  head() {
    const slider = document.getElementById("seek"), head = document.getElementById("head");
    return [Number(slider.value), parseFloat(head.style.left), slider.getAttribute("aria-valuetext")];
  },

  hide(hidden) {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
  },

  isDeveloped() {
    return [...document.querySelectorAll("#frames canvas")].every((one) => one.dataset.state === "fine");
  },

  isInView(id) {
    const box = document.getElementById(id).getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight;
  },

  /** [id or text of the focused element, whether its focus is visible] */
  focus() {
    const one = document.activeElement;
    if (one === document.body) return ["the browser's own bars", true];
    const isRinged = (element) => {
      const {outlineStyle, outlineWidth} = getComputedStyle(element);
      return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
    };
    const places = [one, one.closest("label"), one.closest(".film")].filter(Boolean);
    return [one.id || one.textContent.trim(), places.some(isRinged)];
  },

  /** Each visible text: [text, colour, background colour, whether it is large]. */
  texts() {
    const all = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const element = node.parentElement;
      const isSeen = element.checkVisibility({checkVisibilityCSS: true, checkOpacity: true});
      if (!node.textContent.trim() || !isSeen) continue;
      if (["OPTION", "NOSCRIPT"].includes(element.tagName) || element.closest(".unseen, :disabled")) continue;
      const style = getComputedStyle(element), size = parseFloat(style.fontSize);
      let paper = "rgb(255, 255, 255)";
      for (let one = element; one; one = one.parentElement) {
        const color = getComputedStyle(one).backgroundColor;
        if (/, 0\)$/.test(color)) continue; // transparent
        paper = color;
        break;
      }
      const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      all.push([node.textContent.trim().slice(0, 40), style.color, paper, isLarge]);
    }
    return all;
  },

  /** Controls without a name, duplicate ids, and references to missing ids. */
  faults() {
    const faults = [], ids = new Set();
    for (const one of document.querySelectorAll("[id]")) {
      if (ids.has(one.id)) faults.push(`twice: ${one.id}`);
      ids.add(one.id);
    }
    for (const one of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]")) {
      const all = ["aria-labelledby", "aria-describedby", "for"].map((name) => one.getAttribute(name) ?? "").join(" ");
      for (const id of all.split(" ").filter(Boolean)) if (!ids.has(id)) faults.push(`not there: ${id}`);
    }
    const usable = "input, select, textarea, button, a[href], summary, [role=progressbar]";
    for (const one of document.querySelectorAll(usable)) {
      if (!one.checkVisibility()) continue;
      if (!nameOf(one)) faults.push(`no name: ${one.outerHTML.slice(0, 80)}`);
      if (one.tabIndex > 0) faults.push(`order of its own: ${one.outerHTML.slice(0, 80)}`);
    }
    for (const one of document.querySelectorAll("img:not([alt])")) faults.push(`no alt: ${one.src}`);
    if (document.querySelectorAll("h1").length !== 1) faults.push("h1");
    if (!document.documentElement.lang || !document.title) faults.push("lang, title");
    return faults;
  },
};

/** The accessible name of an element, nearly as the standard defines it. */
function nameOf(element) {
  const by = (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id));
  const texts = [...by, ...(element.labels ?? [])].map((one) => one?.textContent ?? "");
  if (element.matches("button, a, summary")) texts.push(element.textContent);
  return [element.getAttribute("aria-label") ?? "", ...texts].join("").trim();
}
