/** Parts that messages of both sides have: the switch between branches, and the copy button. */

import { html, useState } from "./vendor/htm/preact.js";
import { siblings } from "./conversation.js";
import { IconButton, copyText, focusMessage } from "./look.js";

/** "2 / 3" with arrows where a message has alternatives, else nothing. */
export function Branches({ session, node }) {
  const all = siblings(session.conversation, node);
  if (all.length < 2) return null;
  const at = all.findIndex(({ id }) => id === node.id);
  const go = (step) => () => {
    focusMessage(); // this message makes room for its sibling
    session.switchTo(all[at + step]);
  };
  return html`<span class="branches" role="group" aria-label=${`Branch ${at + 1} of ${all.length}`}>
    <${IconButton} icon="left" label="Earlier branch" disabled=${at === 0 || session.isRunning} onClick=${go(-1)} />
    <span aria-hidden="true">${at + 1} / ${all.length}</span>
    <${IconButton} icon="right" label="Later branch" disabled=${at === all.length - 1 || session.isRunning} onClick=${go(1)} />
  </span>`;
}

/** Copies `text`; shows for a moment that it has. */
export function CopyButton({ text, label }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<${IconButton} icon=${isDone ? "done" : "copy"} label=${isDone ? "Copied" : label} onClick=${copy} />`;
}
