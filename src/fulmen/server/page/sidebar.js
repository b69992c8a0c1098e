/** The conversations: begin, search, open, rename, delete. On a narrow screen a drawer. */

import { html, useEffect, useRef, useState } from "./vendor/htm/preact.js";
import { ConfirmDialog } from "./dialogs.js";
import { Icon, IconButton, focusMessage } from "./look.js";

/** `onBegin` starts a conversation, `onClose` shuts the drawer. */
export function Sidebar({ session, onBegin, onClose, isDrawer }) {
  const [words, setWords] = useState("");
  const [renamed, setRenamed] = useState(null);
  const [removed, setRemoved] = useState(null);
  useEffect(() => {
    session.search(words);
  }, [words, session.headers]);
  const headers = session.headers.filter(({ id, title }) => {
    return !session.found || session.found.has(id) || title.toLowerCase().includes(words.trim().toLowerCase());
  });
  const open = (id) => {
    session.open(id);
    onClose();
  };
  return html`<nav class="sidebar" aria-label="Conversations" data-open=${isDrawer}>
    <div class="brand">
      <img src="page/bolt.svg" alt="" width="26" height="26" /><span>Fulmen</span>
      <${IconButton} icon="close" label="Close the list" class="icon-button only-narrow" onClick=${onClose} />
    </div>
    <button type="button" class="begin" onClick=${onBegin}><${Icon} name="add" />New conversation</button>
    <label class="search"><${Icon} name="search" /><span class="off-screen">Search the conversations</span>
      <input id="search" type="search" placeholder="Search" autocomplete="off" value=${words}
        onInput=${(event) => setWords(event.target.value)} />
    </label>
    ${headers.length === 0 && html`<p class="nothing">${words ? "Nothing found." : "Conversations will be listed here."}</p>`}
    ${grouped(headers).map(([age, group]) => html`<section key=${age}>
      <h2>${age}</h2>
      <ul>${group.map((header) => html`<${Entry} key=${header.id} header=${header} isCurrent=${header.id === session.conversation.id}
        isRenamed=${renamed === header.id} onOpen=${() => open(header.id)} onRemove=${() => setRemoved(header)}
        onRename=${() => setRenamed(header.id)}
        onName=${(title) => {
          setRenamed(null);
          if (title) session.rename(header.id, title);
        }} />`)}</ul>
    </section>`)}
    ${removed && html`<${ConfirmDialog} title="Delete this conversation?" action="Delete"
      text=${`“${removed.title}” and all its branches are removed from this browser.`}
      onAnswer=${(yes) => {
        setRemoved(null);
        if (yes) session.remove(removed.id);
        focusMessage();
      }} />`}
  </nav>`;
}

function Entry({ header, isCurrent, isRenamed, onOpen, onRename, onRemove, onName }) {
  const field = useRef(null);
  useEffect(() => field.current?.select(), [isRenamed]);
  if (isRenamed) {
    const keys = (event) => {
      event.stopPropagation();
      if (event.key === "Escape") field.current.value = "";
      if (event.key === "Enter" || event.key === "Escape") focusMessage(); // leaving the field takes the name
    };
    return html`<li class="entry"><input ref=${field} class="rename" aria-label="New name" defaultValue=${header.title}
      onKeyDown=${keys} onBlur=${(event) => onName(event.target.value.trim())} /></li>`;
  }
  return html`<li class=${isCurrent ? "entry current" : "entry"}>
    <button type="button" class="open" aria-current=${isCurrent ? "page" : undefined} onClick=${onOpen}>${header.title}</button>
    <${IconButton} icon="rename" label=${`Rename ${header.title}`} onClick=${onRename} />
    <${IconButton} icon="remove" label=${`Delete ${header.title}`} onClick=${onRemove} />
  </li>`;
}

function grouped(headers) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const day = 24 * 3600 * 1000;
  const ageOf = ({ updated }) => {
    if (updated >= midnight) return "Today";
    if (updated >= midnight - day) return "Yesterday";
    return updated >= midnight - 7 * day ? "This week" : "Earlier";
  };
  const groups = new Map();
  for (const header of headers) groups.set(ageOf(header), [...(groups.get(ageOf(header)) ?? []), header]);
  return Array.from(groups);
}
