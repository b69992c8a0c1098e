/** One reply while it comes: chunks of the stream to the assistant's node, with what the gauges need. */

/** The node of a reply that has not begun. */
export function emptyReply(model, budget) {
  return {
    role: "assistant",
    status: "streaming",
    model,
    budget,
    thinking: null,
    content: "",
    calls: [],
    error: null,
    finish: null,
    stats: { thinkingPieces: 0, pieces: 0, thinkingSeconds: 0, seconds: 0, usage: null },
  };
}

/** Takes chunks and holds the node as it is by now. */
export class ReplyReader {
  #first = null;

  /** Fill `node`, as `emptyReply` made it. */
  constructor(node) {
    this.node = node;
  }

  /** Add what a chunk brings. */
  take(chunk) {
    const stats = { ...this.node.stats };
    if (chunk.usage) stats.usage = readUsage(chunk.usage);
    this.node = { ...this.node, stats };
    const [choice] = chunk.choices;
    if (!choice) return;
    const { reasoning_content: thinking, content, tool_calls: calls } = choice.delta;
    if (thinking || content || calls) this.#time(stats, Boolean(thinking));
    if (thinking) this.node.thinking = (this.node.thinking ?? "") + thinking;
    if (content) this.node.content += content;
    for (const call of calls ?? []) this.node.calls = withCall(this.node.calls, call);
    if (choice.finish_reason) {
      this.node.finish = { reason: choice.finish_reason, stop: choice.stop_reason, warnings: choice.warnings ?? [] };
    }
  }

  /** The reply has ended: "done" or "stopped" by the reader. */
  end(status) {
    this.node = { ...this.node, status };
  }

  /** The reply has failed; what came of it stays. */
  fail({ kind, message, retryAfter }) {
    this.node = { ...this.node, status: "failed", error: { kind, message, retryAfter } };
  }

  #time(stats, thinks) {
    const now = performance.now();
    this.#first ??= now;
    stats.pieces += 1;
    if (thinks) {
      stats.thinkingPieces += 1;
      stats.thinkingSeconds = (now - this.#first) / 1000;
    }
    stats.seconds = (now - this.#first) / 1000;
  }
}

/** Tokens a second, from the first to the last; the server's count, or one piece as one token while it streams. */
export function tokensPerSecond({ usage, pieces, seconds }) {
  const tokens = usage ? usage.completion : pieces;
  return tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null;
}

/** Tokens of thinking, counted like that too. */
export function thinkingTokens({ usage, thinkingPieces }) {
  return usage ? usage.reasoning : thinkingPieces;
}

function readUsage(usage) {
  return {
    prompt: usage.prompt_tokens,
    completion: usage.completion_tokens,
    cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
    reasoning: usage.completion_tokens_details?.reasoning_tokens ?? 0,
  };
}

function withCall(calls, { index, id, function: called }) {
  const known = calls[index] ?? { id, name: called.name, arguments: "" };
  const next = [...calls];
  next[index] = { ...known, arguments: known.arguments + (called.arguments ?? "") };
  return next;
}
