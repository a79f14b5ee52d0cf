// Asking the API for whoever sits here: with the key, when it wants one, and again when the connection is lost.

import {copy, curl, watchCommand} from "./curl.js";
import {$, countdown, say} from "./dom.js";
import {ask, Offline, Patience, Refusal} from "./net.js";

const SIGNED_IN = "longtake signed in";
const needsKey = () => localStorage.getItem(SIGNED_IN) !== null;

let stopTrouble = () => {};
/** Shows why there is no answer, and when the next try is. */
export const patience = new Patience((until, why) => {
  stopTrouble();
  $("trouble").hidden = until === null;
  if (until === null) return;
  stopTrouble = countdown(Math.max(0, until - Date.now()) / 1000, (left) => say($("trouble-text"),
    `${why} Trying again${left ? ` in ${left} s` : ""}.`));
});

let signing = null;

/** Shows the field for the key; resolves when one was taken. */
export function signIn() {
  signing ??= new Promise((resolve) => {
    $("login").hidden = false;
    $("key").focus();
    $("login").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await ask("POST", "/login", {key: $("key").value});
      } catch (error) {
        const wait = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
        say($("key-error"), error.message + wait);
        $("key").setAttribute("aria-invalid", "true");
        $("key").select();
        return;
      }
      localStorage.setItem(SIGNED_IN, "yes");
      $("key").value = "";
      $("key").removeAttribute("aria-invalid");
      say($("key-error"), "");
      $("login").hidden = true;
      $("sign-out").hidden = false;
      signing = null;
      resolve();
    };
  });
  return signing;
}

/** As `ask`, and once more after the key was given. */
export async function request(method, path, body) {
  try {
    return await ask(method, path, body);
  } catch (error) {
    if (error.status !== 401) throw error;
    await signIn();
    return ask(method, path, body);
  }
}

/**
 * What the page cannot do without: again until there is an answer, or a refusal that waiting does not mend. Null when
 * `signal` says before that nobody wants it any more.
 */
export async function insist(path, signal = new AbortController().signal) {
  const who = Symbol();
  try {
    for (let wait = 1; !signal.aborted; wait = Math.min(20, wait * 2)) {
      try {
        const answer = await request("GET", path);
        return signal.aborted ? null : answer;
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof Offline || (error instanceof Refusal && error.mends))) throw error;
        await patience.wait(who, error.retryAfterS ?? wait, signal, error);
      }
    }
    return null;
  } finally {
    patience.well(who);
  }
}

/** Asks for a change, and shows the command that would have done the same. */
export async function act(method, path, body) {
  const answer = await request(method, path, body);
  const lines = [curl(method, path, body, needsKey())];
  if (["queued", "in_progress"].includes(answer?.status)) {
    lines.push("", "# watch it while it is made", watchCommand(answer.id, needsKey()));
  }
  say($("curl-text"), lines.join("\n"));
  $("curl").hidden = false;
  return answer;
}

$("trouble-now").addEventListener("click", () => patience.wake());
$("curl-copy").addEventListener("click", async () => {
  await copy($("curl-text").textContent, $("curl-text"));
  say($("curl-copy"), "Copied");
  setTimeout(() => say($("curl-copy"), "Copy"), 2000);
});
$("sign-out").hidden = !needsKey();
$("sign-out").addEventListener("click", async () => {
  await ask("POST", "/logout");
  localStorage.removeItem(SIGNED_IN);
  location.assign(location.pathname);
});
