/** The page: the frame around the conversation, the keys, and the start of it all. */

import { html, render, useEffect, useRef, useState } from "./vendor/htm/preact.js";
import { Composer } from "./composer.js";
import { toJson, toMarkdown } from "./conversation.js";
import { KeyDialog, OptionsDialog, ShortcutsDialog } from "./dialogs.js";
import { Icon, IconButton, THEMES, download, setTheme, theme } from "./look.js";
import { Session } from "./session.js";
import { listenToKeys } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { Transcript } from "./transcript.js";

function App({ session }) {
  const [, draw] = useState(0);
  const [dialog, setDialog] = useState(null);
  const [drawer, setDrawer] = useState(false);
  const composer = useRef(null);
  useEffect(() => session.subscribe(() => draw((drawn) => drawn + 1)), []);
  const begin = () => {
    session.create();
    setDrawer(false);
    composer.current.focus();
  };
  useEffect(() => listenToKeys({ session, begin, setDialog, setDrawer }), []);
  useEffect(() => composer.current.focus(), [session.conversation.id]);
  const close = () => setDialog(null);
  return html`
    <a class="skip" href="#message" onClick=${(event) => (event.preventDefault(), composer.current.focus())}>
      To the message
    </a>
    <div class=${drawer ? "page with-drawer" : "page"}>
      <${Sidebar} session=${session} onBegin=${begin} onClose=${() => setDrawer(false)} isDrawer=${drawer} />
      <div class="scrim" onClick=${() => setDrawer(false)} />
      <main>
        <${Header} session=${session} isDrawer=${drawer} onMenu=${() => setDrawer(true)} onBegin=${begin} onDialog=${setDialog} />
        <${Notices} session=${session} />
        <${Transcript} session=${session} composer=${composer} />
        <${Composer} session=${session} field=${composer} onDialog=${setDialog} />
      </main>
    </div>
    <div class="off-screen" role="status" aria-live="polite">${session.announcement}</div>
    ${dialog === "options" && html`<${OptionsDialog} session=${session} onClose=${close} />`}
    ${dialog === "shortcuts" && html`<${ShortcutsDialog} onClose=${close} />`}
    ${session.asksForKey && html`<${KeyDialog} session=${session} />`}
  `;
}

function Header({ session, isDrawer, onMenu, onBegin, onDialog }) {
  const { conversation } = session;
  return html`<header class="top">
    <${IconButton} icon="menu" label="Conversations" class="icon-button only-narrow" aria-expanded=${isDrawer}
      onClick=${onMenu} />
    <h1>${conversation.title || "New conversation"}</h1>
    ${session.model && html`<span class="model only-wide"><span class="off-screen">Model: </span>${session.model.id}</span>`}
    <div class="actions" role="group" aria-label="Page">
      <${ExportMenu} conversation=${conversation} />
      <${IconButton} icon="options" label="Options" onClick=${() => onDialog("options")} />
      <${IconButton} icon="keyboard" label="Keyboard shortcuts" class="icon-button only-wide"
        onClick=${() => onDialog("shortcuts")} />
      <${ThemeButton} />
      <${IconButton} icon="add" label="New conversation" class="icon-button only-narrow" onClick=${onBegin} />
    </div>
  </header>`;
}

function ExportMenu({ conversation }) {
  const menu = useRef(null);
  if (!conversation.leaf) return null;
  const name = conversation.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "conversation";
  const save = (ending, textOf, type) => () => {
    download(`${name}.${ending}`, textOf(conversation), type);
    menu.current.open = false;
  };
  const leave = (event) => {
    if (!menu.current.contains(event.relatedTarget)) menu.current.open = false;
  };
  const keys = (event) => {
    if (event.key !== "Escape" || !menu.current.open) return;
    event.stopPropagation(); // it closes the menu, and stops no reply
    menu.current.open = false;
    menu.current.firstElementChild.focus();
  };
  return html`<details class="menu" ref=${menu} onFocusOut=${leave} onKeyDown=${keys}>
    <summary class="icon-button" aria-label="Export" title="Export"><${Icon} name="export" /></summary>
    <div class="menu-items">
      <button type="button" onClick=${save("md", toMarkdown, "text/markdown")}>As Markdown</button>
      <button type="button" onClick=${save("json", toJson, "application/json")}>
        As JSON, with all branches
      </button>
    </div>
  </details>`;
}

function ThemeButton() {
  const [name, setName] = useState(theme());
  const next = THEMES[(THEMES.indexOf(name) + 1) % THEMES.length];
  const choose = () => {
    setTheme(next);
    setName(next);
  };
  return html`<${IconButton} icon=${name} label=${`Theme: ${name}. Change to ${next}`} onClick=${choose} />`;
}

function Notices({ session }) {
  const { notice, problem } = session;
  return html`
    ${problem && problem.kind !== "key" && html`<div class="notice" role="alert">
      <${Icon} name="warn" /><p>${problem.message} The page can’t tell which model it has.</p>
      <button type="button" class="button" onClick=${() => session.connect()}>Try again</button>
    </div>`}
    ${notice && html`<div class="notice" role="alert">
      <${Icon} name="warn" /><p>${notice}</p>
      <${IconButton} icon="close" label="Dismiss" onClick=${() => session.dismiss()} />
    </div>`}
  `;
}

const session = new Session(await openStore());
render(html`<${App} session=${session} />`, document.getElementById("app"));
await session.start();
