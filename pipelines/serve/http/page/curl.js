// The command line of a request, to be pasted into a shell.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** `signedIn`: a key is needed, which the command takes from the shell's LONGTAKE_KEY. */
export function curl(method, path, body, signedIn) {
  const verb = method === "GET" || body !== undefined ? "" : `-X ${method} `; // a body makes it POST
  const lines = [`curl -sS ${verb}${quoted(location.origin + path)}`];
  if (signedIn) lines.push(`-H "Authorization: Bearer $LONGTAKE_KEY"`);
  if (body !== undefined) lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

/** Plays a video while it is made. */
export function watchCommand(id, signedIn) {
  return `${curl("GET", `/v1/videos/${id}/stream`, undefined, signedIn).replace("-sS", "-sSN")} | ffplay -`;
}

/** Puts text on the clipboard; `element` holds it, for browsers that let a page copy only what is selected. */
export async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(element);
    document.execCommand("copy");
  }
}
