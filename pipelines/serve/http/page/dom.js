// The few lines that every part of the page uses.

export const $ = (id) => document.getElementById(id);

/** `element("a", {href: "#"}, "text", child)`; what begins with `on` is a listener, a dash makes an attribute. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Text that is read out when it changes, so only when it changes. Empty text hides the element. */
export function say(where, text, hides = false) {
  if (where.textContent !== text) where.textContent = text;
  if (hides && where.hidden !== !text) where.hidden = !text;
}

/** `1.3 s`, `12 s`, `1 min 5 s` */
export function duration(seconds) {
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Calls `each(seconds left)` every second, at last with 0. Returns what stops it. */
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
