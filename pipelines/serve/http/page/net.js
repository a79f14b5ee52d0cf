// Requests to the API. Streams reconnect by themselves, after increasing waits that the page shows.

import {Splitter} from "./boxes.js";

const FIRST_WAIT_S = 1, MAX_WAIT_S = 20;

/**
 * A response that is an error. `message`, `code` and `param` come from the API; `code` is null in a response that is
 * not the API's, such as that of a proxy in front of it. `retryAfterS` is null without Retry-After.
 */
export class Refusal extends Error {
  constructor(status, error, retryAfterS = null) {
    super(error.message);
    Object.assign(this, {status, code: error.code, param: error.param ?? null, retryAfterS});
  }

  /** Whether it is about the request; otherwise the endpoint is away, and a later try may succeed. */
  get isFinal() {
    if (this.code === null || this.code === "video_not_ready") return false;
    return [400, 401, 409, 416].includes(this.status) || this.isMissing;
  }

  get isMissing() {
    return this.code === "video_not_found";
  }

  get needsKey() {
    return this.status === 401 && this.code !== null;
  }
}

/** No response. */
export class Offline extends Error {
  isFinal = false;

  constructor() {
    super("The endpoint does not respond.");
  }
}

/** Sends a request and returns the JSON of the response, or null if it is empty. Throws Refusal or Offline. */
export async function send(method, path, body) {
  const response = await ask(path, "application/json", body === undefined ? {method} : {
    method,
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify(body),
  });
  return response.status === 204 ? null : response.json().catch(() => { throw new Offline(); });
}

/** The response of this media type. A starting or stopping endpoint says so, and never that a video is missing. */
async function ask(path, type, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Offline();
  }
  const isEmpty = response.status === 204;
  if (response.ok && (isEmpty || response.headers.get("Content-Type")?.startsWith(type))) return response;
  const body = response.ok ? null : await response.json().catch(() => null);
  const isOurs = typeof body?.error?.code === "string" && typeof body.error.message === "string";
  const error = isOurs ? body.error : {message: `The endpoint is away (status ${response.status}).`, code: null};
  const after = Number(response.headers.get("Retry-After"));
  throw new Refusal(response.status, error, after > 0 ? after : null);
}

/**
 * Requests that wait for their next try. Calls `onChange(until, why)` with its time in ms, or null if none waits, and
 * `onReturn()` when the endpoint is back.
 */
export class Retries {
  #waiting = new Map(); // key -> {until, why, wake}; without `why` it is not shown
  #onChange;
  onReturn = () => {};

  constructor(onChange) {
    this.#onChange = onChange;
    addEventListener("online", () => this.wake());
  }

  wake() {
    for (const {wake} of this.#waiting.values()) wake();
  }

  /**
   * The result of `work({succeed, restart})`, called again after increasing waits while it is undefined or throws what
   * is not final; null if `signal` aborts. It calls `succeed` when it has a response, and `restart` with each success
   * that makes the waits short again.
   */
  async run(work, isFinal, signal) {
    const key = Symbol();
    let wait = FIRST_WAIT_S;
    const step = {succeed: () => this.#succeed(key), restart: () => { wait = FIRST_WAIT_S; }};
    try {
      while (!signal.aborted) {
        let error = null;
        try {
          const result = await work(step);
          if (result !== undefined) return signal.aborted ? null : result;
        } catch (reason) {
          if (signal.aborted) break;
          if (isFinal(reason)) throw reason;
          error = reason;
        }
        // A stream that breaks off may be the end of a cancelled video. It is trouble if it cannot be opened again.
        const isTrouble = error instanceof Refusal || error instanceof Offline || wait > FIRST_WAIT_S;
        await this.#wait(key, error?.retryAfterS ?? wait, signal, isTrouble ? whyOf(error) : "");
        wait = Math.min(MAX_WAIT_S, wait * 2);
      }
      return null;
    } finally {
      this.#clear(key);
    }
  }

  /** Resolves after `seconds`, on `wake()` or when `signal` aborts. */
  async #wait(key, seconds, signal, why) {
    const until = Date.now() + seconds * 1000;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      const wake = () => { clearTimeout(timer); resolve(); };
      signal.addEventListener("abort", wake, {once: true});
      this.#waiting.set(key, {until, why, wake});
      this.#notify();
    });
  }

  #clear(key) {
    if (this.#waiting.delete(key)) this.#notify();
  }

  /** The request has a response. */
  #succeed(key) {
    const wasAway = this.#first !== undefined;
    this.#clear(key);
    if (wasAway && this.#first === undefined) this.onReturn();
  }

  get #first() {
    return [...this.#waiting.values()].filter((one) => one.why).sort((a, b) => a.until - b.until)[0];
  }

  #notify() {
    const first = this.#first;
    this.#onChange(first?.until ?? null, first?.why);
  }
}

/** Why a request is tried again, for the user. */
const whyOf = (error) => error instanceof Refusal ? error.message : "Connection lost.";

/**
 * Reads a stream and reconnects when it breaks. `path()` and `headers()` give the position, `take(bytes)` gets data.
 * Ends when a response has ended and `finished()` is true, on status 204, or when `signal` aborts.
 * Throws each Refusal that is final.
 */
async function readWithRetry({path, type, headers, take, begin, finished, signal, retries}) {
  await retries.run(async ({succeed, restart}) => {
    begin();
    const response = await ask(path(), type, {headers: headers?.() ?? {}, signal});
    succeed();
    if (response.status === 204) return true;
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      restart();
      take(part.value);
    }
    return (await finished()) || undefined;
  }, (error) => error instanceof Refusal && error.isFinal, signal);
}

/** Calls `onFragment(bytes, index)` once for each fragment of `path`, from `first` on until `finished(count)`. */
export async function followFragments(path, {first = 0, onFragment, finished, signal, retries}) {
  let count = first, splitter;
  await readWithRetry({
    path: () => (count ? `${path}?from_fragment=${count}` : path),
    begin: () => { splitter = new Splitter(); },
    take: (bytes) => { for (const one of splitter.push(bytes)) onFragment(one, count++); },
    finished: () => finished(count), type: "video/mp4", signal, retries,
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
    type: "text/event-stream", signal, retries,
  });
}
