// Requests to the API. Streams reconnect by themselves, after increasing waits that the page shows.

import {Splitter} from "./boxes.js";

const FIRST_WAIT_S = 1, MAX_WAIT_S = 20;

/** An error response. `message`, `code` and `param` come from the API; `retryAfterS` is null without Retry-After. */
export class Refusal extends Error {
  constructor(status, error, retryAfterS) {
    super(error.message);
    Object.assign(this, {status, code: error.code, param: error.param, retryAfterS});
  }

  /** Whether a retry may succeed. */
  get isTemporary() {
    return [429, 500, 502, 503, 504].includes(this.status);
  }
}

/** No response. */
export class Offline extends Error {
  constructor() {
    super("The endpoint does not respond.");
  }
}

/** Sends a request and returns the JSON of the response, or null if it is empty. Throws Refusal or Offline. */
export async function send(method, path, body) {
  const response = await open(path, body === undefined ? {method} : {
    method,
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify(body),
  });
  return response.status === 204 ? null : response.json();
}

async function open(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Offline();
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const error = body?.error
    ?? {message: `The endpoint returned status ${response.status}.`, code: "unknown", param: null};
  const after = Number(response.headers.get("Retry-After"));
  throw new Refusal(response.status, error, after > 0 ? after : null);
}

/** Requests that wait for their next try. Calls `onChange(until, why)` with its time in ms, or null if none waits. */
export class Retries {
  #waiting = new Map(); // key -> {until, why, wake}
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    addEventListener("online", () => this.wake());
  }

  wake() {
    for (const {wake} of this.#waiting.values()) wake();
  }

  /** Resolves after `seconds`, on `wake()` or when `signal` aborts. `error` is the reason for waiting. */
  async wait(key, seconds, signal, error) {
    const until = Date.now() + seconds * 1000;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      const wake = () => { clearTimeout(timer); resolve(); };
      signal.addEventListener("abort", wake, {once: true});
      const why = error instanceof Refusal ? error.message : "Connection lost.";
      this.#waiting.set(key, {until, why, wake});
      this.#notify();
    });
    if (signal.aborted) this.clear(key);
  }

  clear(key) {
    if (this.#waiting.delete(key)) this.#notify();
  }

  #notify() {
    const [first] = [...this.#waiting.values()].sort((a, b) => a.until - b.until);
    this.#onChange(first?.until ?? null, first?.why);
  }
}

/**
 * Reads a stream and reconnects when it breaks. `path()` and `headers()` give the position, `take(bytes)` gets data.
 * Ends when a response has ended and `finished()` is true, on status 204, or when `signal` aborts.
 * Throws each Refusal that is not temporary.
 */
async function readWithRetry({path, headers, take, begin, finished, signal, retries}) {
  const key = Symbol();
  let wait = FIRST_WAIT_S;
  while (!signal.aborted) {
    try {
      begin();
      const response = await open(path(), {headers: headers?.() ?? {}, signal});
      retries.clear(key);
      if (response.status === 204) break;
      const reader = response.body.getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        wait = FIRST_WAIT_S;
        take(part.value);
      }
      if (await finished()) break;
      await retries.wait(key, wait, signal);
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof Refusal && !error.isTemporary) throw error;
      await retries.wait(key, error.retryAfterS ?? wait, signal, error);
    }
    wait = Math.min(MAX_WAIT_S, wait * 2);
  }
  retries.clear(key);
}

/** Calls `onFragment(bytes, index)` once for each fragment of `path`, from `first` on until `finished(count)`. */
export async function followFragments(path, {first = 0, onFragment, finished, signal, retries}) {
  let count = first, splitter;
  await readWithRetry({
    path: () => (count ? `${path}?from_fragment=${count}` : path),
    begin: () => { splitter = new Splitter(); },
    take: (bytes) => { for (const one of splitter.push(bytes)) onFragment(one, count++); },
    finished: () => finished(count), signal, retries,
  });
}

/** Calls `onEvent(kind, data)` for the server-sent events of `path`. After a restart of the endpoint they repeat. */
export async function followEvents(path, {onEvent, signal, retries}) {
  let last = "", text = "", ended = false, decoder;
  await readWithRetry({
    path: () => path,
    headers: () => (last ? {"Last-Event-ID": last} : {}),
    begin: () => { text = ""; decoder = new TextDecoder(); },
    take: (bytes) => {
      text += decoder.decode(bytes, {stream: true});
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
        if (fields.data === undefined) continue; // a heartbeat
        last = fields.id ?? last;
        ended ||= ["completed", "failed"].includes(fields.event);
        onEvent(fields.event, JSON.parse(fields.data));
      }
    },
    finished: () => ended,
    signal, retries,
  });
}
