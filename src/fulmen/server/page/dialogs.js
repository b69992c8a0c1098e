/** Questions in front of the page: options, the API key, the shortcuts, and "are you sure". */

import { html, useEffect, useRef, useState } from "./vendor/htm/preact.js";
import { IconButton } from "./look.js";
import { SHORTCUTS } from "./shortcuts.js";
import { EXAMPLE, readTools } from "./toolspecs.js";

/** The browser's own modal dialog: it keeps the focus inside, closes by Escape and gives the focus back. */
function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    const { current } = dialog;
    const before = document.activeElement;
    current.showModal();
    return () => {
      current.close();
      before?.focus();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  const outside = ({ clientX, clientY }) => {
    const { left, right, top, bottom } = dialog.current.getBoundingClientRect();
    // Its scroll bar is inside, though the event's target is the same.
    if (clientX < left || clientX > right || clientY < top || clientY > bottom) onClose();
  };
  return html`<dialog ref=${dialog} aria-label=${title} onCancel=${cancel} onMouseDown=${outside}>
    <div class="inside">
      <header><h2>${title}</h2><${IconButton} icon="close" label="Close" onClick=${onClose} /></header>
      ${children}
    </div>
  </dialog>`;
}

/** Calls `onAnswer` with true or false. */
export function ConfirmDialog({ title, text, action, onAnswer }) {
  return html`<${Dialog} title=${title} onClose=${() => onAnswer(false)}>
    <p>${text}</p>
    <footer><button type="button" class="button" autofocus onClick=${() => onAnswer(false)}>Cancel</button>
      <button type="button" class="button danger" onClick=${() => onAnswer(true)}>${action}</button></footer>
  <//>`;
}

/** Asks for a key of the server's. */
export function KeyDialog({ session }) {
  const [key, setKey] = useState("");
  const [wasTried, setTried] = useState(false);
  const use = async (event) => {
    event.preventDefault();
    await session.useKey(key.trim());
    setTried(true);
  };
  return html`<${Dialog} title="API key" onClose=${() => session.withoutKey()}>
    <form onSubmit=${use}>
      <p>This server asks for a key. It is kept until this tab is closed, and sent to this server only.</p>
      <label class="field"><span>Key</span>
        <input type="password" autofocus autocomplete="off" value=${key} onInput=${(event) => setKey(event.target.value)} />
      </label>
      ${wasTried && session.problem && html`<p class="problem" role="alert">${session.problem.message}</p>`}
      <footer><button type="submit" class="button primary" disabled=${!key.trim()}>Use this key</button></footer>
    </form>
  <//>`;
}

/** System prompt, tools and sampling of the shown conversation. */
export function OptionsDialog({ session, onClose }) {
  const [draft, setDraft] = useState(session.conversation.options);
  const { tools, problem } = readTools(draft.tools);
  const set = (fields) => setDraft({ ...draft, ...fields });
  const number = (name) => (event) => set({ [name]: event.target.value === "" ? null : event.target.valueAsNumber });
  const save = (event) => {
    event.preventDefault();
    session.setOptions(draft);
    onClose();
  };
  return html`<${Dialog} title="Options" onClose=${onClose}>
    <form onSubmit=${save}>
      <p>For this conversation; the next one begins with them.</p>
      <label class="field"><span>System message</span>
        <textarea rows="3" value=${draft.system} onInput=${(event) => set({ system: event.target.value })} /></label>
      <label class="field"><span>Tools, as a JSON list</span>
        <textarea class="mono" rows="8" spellcheck="false" placeholder="[]" aria-describedby="tools-state" aria-invalid=${Boolean(problem)}
          value=${draft.tools} onInput=${(event) => set({ tools: event.target.value })} /></label>
      <p id="tools-state" class=${problem ? "problem" : "hint"}>${problem ?? toolsHint(tools)}
        ${!draft.tools.trim() && html`<button type="button" class="link" onClick=${() => set({ tools: EXAMPLE })}>Insert an example</button>`}</p>
      <div class="pair">
        <label class="field"><span>Temperature</span><input type="number" min="0" max="2" step="0.01" placeholder="the model’s"
          value=${draft.temperature ?? ""} onInput=${number("temperature")} /></label>
        <label class="field"><span>Most tokens of a reply</span><input type="number" min="1" step="1" placeholder="no limit"
          value=${draft.maxTokens ?? ""} onInput=${number("maxTokens")} /></label>
      </div>
      <footer><button type="button" class="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class="button primary" disabled=${Boolean(problem)}>Save</button></footer>
    </form>
  <//>`;
}

function toolsHint(tools) {
  const known = tools.length ? `${tools.map(({ function: { name } }) => name).join(", ")}. ` : "";
  return `${known}The model may call them; you answer each call by hand. `;
}

/** The list of shortcuts. */
export function ShortcutsDialog({ onClose }) {
  return html`<${Dialog} title="Keyboard shortcuts" onClose=${onClose}>
    <table class="shortcuts"><tbody>${SHORTCUTS.map(([keys, action]) => html`<tr><th scope="row">
      ${keys.split(" ").map((key) => html`<kbd>${key}</kbd>`)}</th><td>${action}</td></tr>`)}</tbody></table>
  <//>`;
}
