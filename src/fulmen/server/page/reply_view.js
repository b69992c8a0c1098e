/** A reply: thinking, text, tool calls, and how it ended. */

import { html } from "./vendor/htm/preact.js";
import { Branches, CopyButton } from "./branches.js";
import { errorWords } from "./errors.js";
import { Icon, IconButton, count, duration, focusMessage } from "./look.js";
import { Markdown } from "./prose.js";
import { thinkingTokens, tokensPerSecond } from "./reply.js";
import { ToolCalls } from "./tool_calls.js";

const ENDINGS = {
  repetition: "Stopped: the reply repeated itself.",
  grammar: "Stopped: no token fitted the form that was asked for.",
  length: "Cut off: the reply reached its limit of tokens.",
};

/** `results` are the tool messages behind it. */
export function Reply({ session, node, results }) {
  const isRunning = node.status === "streaming";
  const again = () => {
    focusMessage();
    session.regenerate(node);
  };
  const waits = isRunning && !node.content && !node.calls.length && node.thinking === null;
  return html`<article aria-label=${node.model ?? "Model"} aria-busy=${isRunning}>
    ${node.thinking !== null && html`<${Thinking} node=${node} />`}
    ${waits && html`<p class="waits"><span class="pulse" />Waiting for the first token</p>`}
    ${node.content && html`<${Markdown} text=${node.content} />`}
    ${node.calls.length > 0 && html`<${ToolCalls} session=${session} node=${node} results=${results} />`}
    ${node.error && html`<${Failure} session=${session} node=${node} onAgain=${again} />`}
    ${endings(node).map((text) => html`<p class="ending"><${Icon} name="warn" />${text}</p>`)}
    ${!isRunning && html`<footer class="under">
      <${Branches} session=${session} node=${node} />
      ${node.content && html`<${CopyButton} text=${node.content} label="Copy the reply" />`}
      ${node.status !== "failed" && html`<${IconButton} icon="again" label="Write the reply again"
        disabled=${session.isRunning} onClick=${again} />`}
      <${Numbers} stats=${node.stats} />
    </footer>`}
  </article>`;
}

function Thinking({ node }) {
  const { stats, budget, status } = node;
  const isThinking = status === "streaming" && !node.content && !node.calls.length;
  const tokens = thinkingTokens(stats);
  const spent = budget ? Math.min(tokens / budget, 1) : 0;
  const length = budget ? `${count(tokens)} of ${count(budget)} tokens` : `${count(tokens)} tokens`;
  return html`<details class="thinking" data-running=${isThinking}>
    <summary>
      <${Icon} name="thought" />
      <span class="what">${isThinking ? "Thinking" : `Thought for ${duration(stats.thinkingSeconds)}`}</span>
      <span class="length">${length}</span>
      ${budget > 0 && html`<meter aria-label="Thinking budget used" min="0" max="1" value=${spent}>${Math.round(spent * 100)}%</meter>`}
    </summary>
    <${Markdown} text=${node.thinking} />
  </details>`;
}

function Failure({ session, node, onAgain }) {
  const { title, advice } = errorWords(node.error);
  const action =
    node.error.kind === "key"
      ? html`<button type="button" class="button" onClick=${() => session.askForKey()}><${Icon} name="key" />Enter a key</button>`
      : html`<button type="button" class="button" disabled=${session.isRunning} onClick=${onAgain}>
          <${Icon} name="again" />Try again
        </button>`;
  return html`<div class="failure" role="alert">
    <${Icon} name="warn" />
    <div><strong>${title}</strong><p>${node.error.message}</p><p>${advice}</p></div>
    ${action}
  </div>`;
}

function endings({ status, finish }) {
  const warnings = finish?.warnings ?? [];
  if (status === "stopped") return [...warnings, "You stopped this reply."];
  if (finish?.reason !== "length") return warnings;
  return [...warnings, ENDINGS[finish.stop] ?? ENDINGS.length];
}

function Numbers({ stats }) {
  const speed = tokensPerSecond(stats);
  const tokens = stats.usage ? stats.usage.completion : stats.pieces;
  if (!tokens) return null;
  return html`<span class="numbers">${count(tokens)} tokens${speed && html`<span>${speed.toFixed(speed < 10 ? 1 : 0)} tok/s</span>`}</span>`;
}
