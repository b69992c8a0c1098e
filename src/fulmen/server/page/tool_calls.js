/**
 * A reply's tool calls as cards: what is called, with which arguments, and what came of it.
 *
 * The page runs no tools. The reader answers by hand, all calls of a reply together; `session.giveResults` is the one
 * way in, whoever has the results.
 */

import { html, useState } from "./vendor/htm/preact.js";
import { Branches } from "./branches.js";
import { readArguments } from "./conversation.js";
import { Icon, focusMessage } from "./look.js";
import { Code } from "./prose.js";

/** The cards, and the button that sends what was written into them. */
export function ToolCalls({ session, node, results }) {
  const [isAnswered, setAnswered] = useState(false);
  const [drafts, setDrafts] = useState({});
  const asks = node.status === "done" && !session.isRunning && (results.length === 0 || isAnswered);
  const send = (event) => {
    event.preventDefault();
    setAnswered(false);
    focusMessage();
    session.giveResults(node, Object.fromEntries(node.calls.map(({ id }) => [id, drafts[id] ?? ""])));
  };
  const change = () => {
    setDrafts(Object.fromEntries(results.map(({ callId, content }) => [callId, content])));
    setAnswered(true);
  };
  return html`<form class="calls" aria-label="Tool calls" onSubmit=${send}>
    ${node.calls.map((call, index) => html`<${Card} key=${call.id} call=${call} isWriting=${node.status === "streaming"}
      result=${asks ? undefined : results.find(({ callId }) => callId === call.id)?.content ?? results[index]?.content}
      draft=${asks ? drafts[call.id] ?? "" : undefined}
      onDraft=${(text) => setDrafts({ ...drafts, [call.id]: text })} />`)}
    ${asks && html`<div class="send-results">
      <span>The model waits for ${node.calls.length > 1 ? `${node.calls.length} results` : "a result"}.</span>
      <button type="submit" class="button primary">Send ${node.calls.length > 1 ? "the results" : "the result"}</button>
    </div>`}
    ${results.length > 0 && !asks && html`<div class="send-results">
      <${Branches} session=${session} node=${results[0]} />
      <button type="button" class="link" disabled=${session.isRunning} onClick=${change}>Answer differently</button>
    </div>`}
  </form>`;
}

function Card({ call, isWriting, result, draft, onDraft }) {
  const values = isWriting ? null : readArguments(call);
  const state = isWriting ? "writing" : result !== undefined ? "answered" : draft !== undefined ? "waiting" : "stopped";
  return html`<section class="call" aria-label=${`Call of ${call.name}`}>
    <header><${Icon} name="tool" /><code>${call.name}</code><span class=${`state ${state}`}>${state}</span></header>
    <div class="part"><h3>Arguments</h3>
      <${Code} label="Arguments" language="json" text=${values ? JSON.stringify(values, null, 2) : call.arguments} />
    </div>
    ${result !== undefined && html`<div class="part"><h3>Result</h3><${Code} label="Result" language=${kind(result)} text=${result} /></div>`}
    ${draft !== undefined && html`<label class="part"><span class="h3">Result</span>
      <textarea rows="3" aria-label=${`Result of ${call.name}`} placeholder="What the tool returned" value=${draft}
        onInput=${(event) => onDraft(event.target.value)} onKeyDown=${sendByKey} /></label>`}
  </section>`;
}

/** Ctrl+Enter sends; Enter alone belongs to the text. */
function sendByKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.form.requestSubmit();
}

/** What begins like JSON may be a passage with its place: [things.md:1-7]. */
function kind(result) {
  if (!/^\s*[[{]/.test(result)) return "text";
  try {
    JSON.parse(result);
    return "json";
  } catch {
    return "text";
  }
}
