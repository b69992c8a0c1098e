/** What the reader said, and saying something else instead. */

import { html, useLayoutEffect, useRef, useState } from "./vendor/htm/preact.js";
import { Branches, CopyButton } from "./branches.js";
import { IconButton, focusMessage } from "./look.js";

/** A message of the reader's with its actions. */
export function UserMessage({ session, node }) {
  const [isEdited, setEdited] = useState(false);
  if (isEdited) return html`<${Editor} session=${session} node=${node} onClose=${() => setEdited(false)} />`;
  return html`<article aria-label="You">
    <div class="said">${node.content}</div>
    <footer class="under">
      <${Branches} session=${session} node=${node} />
      <${CopyButton} text=${node.content} label="Copy the message" />
      <${IconButton} icon="rename" label="Edit the message" data-action="edit" disabled=${session.isRunning}
        onClick=${() => setEdited(true)} />
    </footer>
  </article>`;
}

function Editor({ session, node, onClose }) {
  const field = useRef(null);
  useLayoutEffect(() => {
    field.current.focus();
    field.current.setSelectionRange(node.content.length, node.content.length);
  }, []);
  const send = () => {
    if (session.isRunning) return; // the field stays open with its text until this reply has ended
    const content = field.current.value.trim();
    onClose();
    focusMessage();
    if (content && content !== node.content) session.edit(node, content);
  };
  const cancel = () => {
    onClose();
    focusMessage();
  };
  const keys = (event) => {
    if (event.key === "Escape") cancel();
    else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<article class="editor" aria-label="You, edited">
    <textarea ref=${field} rows="3" aria-label="Your message" defaultValue=${node.content} onKeyDown=${keys} />
    <footer><button type="button" class="button" onClick=${cancel}>Cancel</button>
      <button type="button" class="button primary" disabled=${session.isRunning} onClick=${send}>Send</button></footer>
  </article>`;
}
