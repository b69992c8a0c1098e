/** The server as the page sees it: `/v1/models`, and `/v1/chat/completions` as a stream of chunks. */

const KEY = "fulmen.key";
const ROOT = new URL(".", document.baseURI); // the page may live below a proxy's prefix

/** What went wrong, by kind; `errors.js` has the words for each. */
export class ApiError extends Error {
  constructor(kind, message, { retryAfter = null } = {}) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

/** Use this API key until the tab is closed. */
export function setApiKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** The card of the model that the server has. */
export async function fetchModel() {
  const response = await request("v1/models", {});
  return (await response.json()).data[0];
}

/**
 * Ask for a reply and yield the chunks of its stream.
 *
 * Throws an ApiError when the server refuses, fails, or the connection breaks before the end; an AbortError when
 * `signal` ends it.
 */
export async function* streamChat(body, signal) {
  const headers = { "Content-Type": "application/json" };
  const response = await request("v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
  for await (const data of events(response.body, signal)) {
    if (data === "[DONE]") return;
    const chunk = readChunk(data);
    if (chunk.error) throw new ApiError("failed", chunk.error.message);
    yield chunk;
  }
  throw new ApiError("cut", "The stream ended before the reply did.");
}

function readChunk(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new ApiError("cut", "Something on the way garbled the reply.");
  }
}

/** Yield the data of server-sent events, however the bytes were cut. */
export async function* events(stream, signal) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        const lines = frame.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("cut", "The connection broke.");
  } finally {
    // Whoever stops reading ends the request, and with it the work on the server.
    reader.cancel().catch(() => {});
  }
}

async function request(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { ...options.headers, Authorization: `Bearer ${asBytes(key)}` } : options.headers;
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("unreachable", "No answer came from the server.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** A header's characters are bytes: a key beyond ASCII travels as its UTF-8. */
function asBytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

async function refusal(response) {
  const { error } = await response.json().catch(() => ({})); // a proxy may answer with a page instead
  const message = error?.message ?? `The server answered with status ${response.status}.`;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  return new ApiError(kindOf(response.status, error?.code), message, { retryAfter });
}

function kindOf(status, code) {
  if (code === "context_length_exceeded") return "too-long";
  if (code === "model_not_found") return "other-model";
  return { 401: "key", 413: "too-long", 429: "busy", 503: "closing" }[status] ?? (status < 500 ? "refused" : "failed");
}
