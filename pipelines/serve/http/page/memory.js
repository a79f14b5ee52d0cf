// Values that survive a reload. Storage may be off or full, or hold what another version of the page wrote: then there
// is no value, and the page works without it.

export const DRAFT = "longtake form"; // what is entered in the form

/** The text that is stored under `key`, in this tab or in `localStorage`; null if there is none. */
export function stored(key, storage = "sessionStorage") {
  try {
    return window[storage].getItem(key);
  } catch {
    return null;
  }
}

/** Stores a text; null removes it. */
export function store(key, text, storage = "sessionStorage") {
  try {
    if (text === null) window[storage].removeItem(key);
    else window[storage].setItem(key, text);
  } catch { /* see above */ }
}

/** The object that is stored under `key` in this tab; an empty one if there is none. */
export function recall(key) {
  try {
    const value = JSON.parse(stored(key));
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

export const remember = (key, value) => store(key, JSON.stringify(value));
