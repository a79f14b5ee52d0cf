// Helpers for every part of the page.

export const $ = (id) => document.getElementById(id);

/** `element("a", {href: "#"}, "text", child)`. Names with `on` are listeners, names with a dash attributes. */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) created.addEventListener(name.slice(2), value);
    else if (name.includes("-")) created.setAttribute(name, value);
    else created[name] = value;
  }
  created.append(...children);
  return created;
}

/** Sets the text if it differs: screen readers announce every change. With `hides`, empty text hides the element. */
export function setText(target, text, hides = false) {
  if (target.textContent !== text) target.textContent = text;
  if (hides && target.hidden !== !text) target.hidden = !text;
}

/** The first `most` sentences and the number of the others. */
export function shortened(sentences, most = 3) {
  const more = sentences.length - most;
  return sentences.slice(0, most).join(" ") + (more > 0 ? ` And ${more} more.` : "");
}

/** `1.3 s`, `12 s`, `1 min 5 s` */
export function duration(seconds) {
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Calls `each(seconds left)` every second until 0. Returns a function that stops it. */
export function countdown(seconds, each) {
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    if (left === 0) clearInterval(timer);
    each(left);
  };
  const timer = setInterval(tick, 500);
  tick();
  return () => clearInterval(timer);
}
