// Requests of this user: signs in when the API requires a key, and retries when the connection is lost.

import {copy, curl, watchCommand} from "./curl.js";
import {$, countdown, setText} from "./dom.js";
import {DRAFT, store, stored} from "./memory.js";
import {Retries, send} from "./net.js";

const SIGNED_IN = "longtake signed in";
const needsKey = () => stored(SIGNED_IN, "localStorage") !== null;

function setSignedIn(isSignedIn) {
  store(SIGNED_IN, isSignedIn ? "yes" : null, "localStorage");
  $("sign-out").hidden = !isSignedIn;
}

let stopTrouble = () => {};
/** Shows why a request waits, and when it is tried again. */
export const retries = new Retries((until, why) => {
  stopTrouble();
  $("trouble").hidden = until === null;
  if (until === null) return;
  stopTrouble = countdown(Math.max(0, until - Date.now()) / 1000, (left) => setText($("trouble-text"),
    `${why} Trying again${left ? ` in ${left} s` : ""}.`));
});

let signing = null;

/** Shows the sign-in form and resolves after a successful sign-in. */
export function signIn() {
  signing ??= new Promise((resolve) => {
    setSignedIn(false); // there was no key, or it is no longer valid
    $("login").hidden = false;
    $("key").focus();
    $("login").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await send("POST", "/login", {key: $("key").value});
      } catch (error) {
        const wait = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
        setText($("key-error"), error.message + wait);
        $("key").setAttribute("aria-invalid", "true");
        $("key").select();
        return;
      }
      setSignedIn(true);
      $("key").value = "";
      $("key").removeAttribute("aria-invalid");
      setText($("key-error"), "");
      $("login").hidden = true;
      signing = null;
      resolve();
    };
  });
  return signing;
}

/** `send`, and again after signing in. */
export async function request(method, path, body) {
  for (;;) {
    try {
      return await send(method, path, body);
    } catch (error) {
      if (!error.needsKey) throw error;
      await signIn();
    }
  }
}

/** A GET request, repeated until it succeeds. Throws each Refusal that is final; null if `signal` aborts. */
export async function getWithRetry(path, signal = new AbortController().signal) {
  return retries.run(async ({succeed}) => {
    const answer = await request("GET", path);
    succeed();
    return answer;
  }, (error) => error.isFinal !== false, signal); // a fault of the page is final too
}

/** Sends a change and shows the same request as a curl command. */
export async function act(method, path, body) {
  const answer = await request(method, path, body);
  const lines = [curl(method, path, body, needsKey())];
  if (["queued", "in_progress"].includes(answer?.status)) {
    lines.push("", "# watch the video while it is generated", watchCommand(answer.id, needsKey()));
  }
  setText($("curl-text"), lines.join("\n"));
  $("curl").hidden = false;
  return answer;
}

$("trouble-now").addEventListener("click", () => retries.wake());
$("curl-copy").addEventListener("click", async () => {
  await copy($("curl-text").textContent, $("curl-text"));
  setText($("curl-copy"), "Copied");
  setTimeout(() => setText($("curl-copy"), "Copy"), 2000);
});
$("sign-out").hidden = !needsKey();
$("sign-out").addEventListener("click", async () => {
  try {
    await send("POST", "/logout");
  } catch (error) {
    setText($("shelf-error"), `You are still signed in: ${error.message}`);
    return;
  }
  setSignedIn(false);
  store(DRAFT, null); // the next user must not see this one's form
  location.assign(location.pathname);
});
