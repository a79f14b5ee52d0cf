// A request as a shell command.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The curl command of a request. With `signedIn` it reads the API key from the shell variable LONGTAKE_KEY. */
export function curl(method, path, body, signedIn) {
  const verb = method === "GET" || body !== undefined ? "" : `-X ${method} `; // with a body curl uses POST
  const lines = [`curl -sS ${verb}${quoted(location.origin + path)}`];
  if (signedIn) lines.push(`-H "Authorization: Bearer $LONGTAKE_KEY"`);
  if (body !== undefined) lines.push(`-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

/** The command that plays a video while it is generated. */
export function watchCommand(id, signedIn) {
  return `${curl("GET", `/v1/videos/${id}/stream`, undefined, signedIn).replace("-sS", "-sSN")} | ffplay -`;
}

/** Copies text to the clipboard. `element` contains it, for browsers that can copy only a selection. */
export async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(element);
    document.execCommand("copy");
  }
}
