// Requests to the API. Those that stay open come back by themselves, after a while that grows, and say so.

import {Splitter} from "./boxes.js";

const FIRST_WAIT_S = 1, MAX_WAIT_S = 20;

/** The API said no. `message`, `code` and `param` are its words; `retryAfterS` is null when it named no time. */
export class Refusal extends Error {
  constructor(status, error, retryAfterS) {
    super(error.message);
    Object.assign(this, {status, code: error.code, param: error.param, retryAfterS});
  }

  /** It may be another answer after a while. */
  get mends() {
    return [429, 500, 502, 503, 504].includes(this.status);
  }
}

/** There was no answer. */
export class Offline extends Error {
  constructor() {
    super("The endpoint does not answer.");
  }
}

/** The JSON of an answer, null of an empty one. Throws Refusal or Offline. */
export async function ask(method, path, body) {
  const answer = await open(path, body === undefined ? {method} : {
    method,
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify(body),
  });
  return answer.status === 204 ? null : answer.json();
}

async function open(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Offline();
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  const error = said?.error ?? {message: `The endpoint answered ${answer.status}.`, code: "unknown", param: null};
  const after = Number(answer.headers.get("Retry-After"));
  throw new Refusal(answer.status, error, after > 0 ? after : null);
}

/** Who waits for the endpoint. `onChange(until, why)` hears when the next try is, in ms; null: all is well. */
export class Patience {
  #waiting = new Map(); // who waits -> {until, why, wake}
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    addEventListener("online", () => this.wake());
  }

  wake() {
    for (const {wake} of this.#waiting.values()) wake();
  }

  /** `error` is why. */
  async wait(who, seconds, signal, error) {
    const until = Date.now() + seconds * 1000;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      const wake = () => { clearTimeout(timer); resolve(); };
      signal.addEventListener("abort", wake, {once: true});
      const why = error instanceof Refusal ? error.message : "The connection is lost.";
      this.#waiting.set(who, {until, why, wake});
      this.#tell();
    });
    if (signal.aborted) this.well(who);
  }

  well(who) {
    if (this.#waiting.delete(who)) this.#tell();
  }

  #tell() {
    const [first] = [...this.#waiting.values()].sort((a, b) => a.until - b.until);
    this.#onChange(first?.until ?? null, first?.why);
  }
}

/**
 * Reads what stays open, again and again: `path()` and `headers()` say from where on, `take(bytes)` gets what comes.
 * Ends when, after an answer's end, `finished()` is true, when there is nothing more (204), or when `signal` says so.
 * Throws the Refusals that waiting does not mend.
 */
async function keepOpen({path, headers, take, begin, finished, signal, patience}) {
  const who = Symbol();
  let wait = FIRST_WAIT_S;
  while (!signal.aborted) {
    try {
      begin();
      const answer = await open(path(), {headers: headers?.() ?? {}, signal});
      patience.well(who);
      if (answer.status === 204) break;
      const reader = answer.body.getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        wait = FIRST_WAIT_S;
        take(part.value);
      }
      if (await finished()) break;
      await patience.wait(who, wait, signal);
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof Refusal && !error.mends) throw error;
      await patience.wait(who, error.retryAfterS ?? wait, signal, error);
    }
    wait = Math.min(MAX_WAIT_S, wait * 2);
  }
  patience.well(who);
}

/** Whole fragments of `path` to `onFragment(bytes, index)`, each once, from `first` on until `finished(count)`. */
export async function followFragments(path, {first = 0, onFragment, finished, signal, patience}) {
  let count = first, splitter;
  await keepOpen({
    path: () => (count ? `${path}?from_fragment=${count}` : path),
    begin: () => { splitter = new Splitter(); },
    take: (bytes) => { for (const one of splitter.push(bytes)) onFragment(one, count++); },
    finished: () => finished(count), signal, patience,
  });
}

/** Server-sent events of `path` to `onEvent(kind, data)`. After a restart they come from the first on. */
export async function followEvents(path, {onEvent, signal, patience}) {
  let last = "", text = "", ended = false, decoder;
  await keepOpen({
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
    signal, patience,
  });
}
