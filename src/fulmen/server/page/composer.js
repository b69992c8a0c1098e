/** Where the reader writes: the message, the thinking budget, and the gauges. */

import { html, useLayoutEffect, useState } from "./vendor/htm/preact.js";
import { pathTo } from "./conversation.js";
import { Icon, brief, count, focusMessage } from "./look.js";
import { tokensPerSecond } from "./reply.js";
import { readTools } from "./toolspecs.js";

const BUDGETS = [0, 256, 512, 1024, 2048, 4096, 8192, 16_384, 40_000, 80_000];

/** `field` gets the text area, so that others can put the focus there. */
export function Composer({ session, field, onDialog }) {
  const [text, setText] = useState("");
  useLayoutEffect(() => {
    field.current.style.height = "auto";
    field.current.style.height = `${field.current.scrollHeight}px`;
  }, [text]);
  const send = (event) => {
    event.preventDefault();
    if (session.isRunning || !text.trim()) return;
    setText("");
    focusMessage(); // the button that was pressed is gone
    session.send(text.trim());
  };
  const stop = () => {
    focusMessage();
    session.stop();
  };
  const keys = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  };
  const { isRunning } = session;
  return html`<form class="composer" onSubmit=${send} aria-label="Message">
    <div class="box" data-running=${isRunning}>
      <textarea id="message" ref=${field} rows="1" aria-label="Message" placeholder="Write a message"
        value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${keys} />
      ${isRunning
        ? html`<button type="button" class="round stop" aria-label="Stop the reply" title="Stop (Escape)"
            onClick=${stop}><span /></button>`
        : html`<button type="submit" class="round" aria-label="Send the message" title="Send (Enter)"
            disabled=${!text.trim()}><${Icon} name="send" /></button>`}
    </div>
    <div class="gauges">
      ${session.model?.thinks && html`<${BudgetSlider} session=${session} />`}
      <${ToolsButton} session=${session} onDialog=${onDialog} />
      <${Gauges} session=${session} />
    </div>
  </form>`;
}

/** The last stop leaves the budget to the server. */
function BudgetSlider({ session }) {
  const { budget } = session.conversation.options;
  const { max_model_len: limit, thinking_budget: own } = session.model;
  const stops = BUDGETS.filter((tokens) => tokens < limit);
  const nearest = stops.findLastIndex((tokens) => tokens <= budget);
  const at = budget === null ? stops.length : nearest;
  const unbounded = own === null ? "no limit" : `${count(own)}, as served`;
  const words = budget === null ? unbounded : budget === 0 ? "none" : `${count(budget)} tokens`;
  const choose = (event) => session.setOptions({ budget: stops[Number(event.target.value)] ?? null });
  return html`<label class="budget"><${Icon} name="thought" /><span>Thinking</span>
    <input type="range" min="0" max=${stops.length} step="1" value=${at} aria-valuetext=${words} onInput=${choose} />
    <span class="words" aria-hidden="true">${words}</span>
  </label>`;
}

function ToolsButton({ session, onDialog }) {
  const { tools } = readTools(session.conversation.options.tools);
  if (tools?.length === 0) return null;
  const words = tools ? `${tools.length} ${tools.length === 1 ? "tool" : "tools"}` : "tools with a mistake";
  return html`<button type="button" class="chip" onClick=${() => onDialog("options")}><${Icon} name="tool" />${words}</button>`;
}

function Gauges({ session }) {
  const { model, conversation } = session;
  if (!model) return null;
  const replies = pathTo(conversation).filter(({ role }) => role === "assistant");
  const counted = replies.findLast(({ stats }) => stats.usage)?.stats.usage;
  const last = replies.at(-1);
  const fresh = last?.status === "streaming" ? last.stats.pieces : 0;
  const used = (counted ? counted.prompt + counted.completion : 0) + fresh;
  const speed = last && tokensPerSecond(last.stats);
  return html`<dl class="numbers">
    ${speed && html`<div><dt class="off-screen">Speed</dt><dd>${speed.toFixed(speed < 10 ? 1 : 0)} tok/s</dd></div>`}
    ${counted && html`<div title="Tokens of the last prompt that were not computed again">
      <dt class="off-screen">Found in the cache</dt><dd>${count(counted.cached)} cached</dd></div>`}
    <div class="context" title=${`${count(used)} of ${count(model.max_model_len)} tokens of context used`}>
      <dt class="off-screen">Context used</dt>
      <dd><${Ring} share=${used / model.max_model_len} />${fresh ? "~" : ""}${count(used)} / ${brief(model.max_model_len)}</dd>
    </div>
  </dl>`;
}

function Ring({ share }) {
  const length = 2 * Math.PI * 6;
  const filled = Math.min(share, 1) * length;
  return html`<svg class="ring" data-full=${share > 0.85} viewBox="0 0 16 16" aria-hidden="true">
    <circle cx="8" cy="8" r="6" />
    <circle class="filled" cx="8" cy="8" r="6" stroke-dasharray=${`${filled} ${length}`} transform="rotate(-90 8 8)" />
  </svg>`;
}
