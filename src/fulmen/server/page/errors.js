/** What each kind of `ApiError` means for the reader, and what to do about it. */

const WORDS = {
  unreachable: ["The server doesn\u2019t answer", "Is fulmen serve still running? Nothing is lost: try again when it is."],
  key: ["The server asks for an API key", "Enter one of its keys; it is kept until this tab is closed."],
  busy: ["The server is busy", "Its queue is full."],
  closing: ["The server is shutting down", "It takes no new work. Try again when it is back."],
  "too-long": [
    "The conversation is too long for the model",
    "Edit an earlier message to branch off there, shorten this one, or begin a new conversation.",
  ],
  "other-model": ["The server has another model now", "Try again to go on with that one."],
  refused: ["The server refused the request", "The options or the tools may be wrong."],
  failed: ["The server failed", "Its log says how."],
  cut: ["The connection broke", "What came of the reply is kept. Trying again writes another one beside it."],
};

/** A title and advice for an error's kind. */
export function errorWords({ kind, retryAfter }) {
  const [title, advice] = WORDS[kind];
  return { title, advice: retryAfter ? `${advice} Try again in ${retryAfter} s.` : advice };
}
