/** The keys that work anywhere on the page, and the list of them. */

import { pathTo } from "./conversation.js";

/** What the dialog lists: keys, and what they do. */
export const SHORTCUTS = [
  ["Enter", "Send the message"],
  ["Shift Enter", "New line in the message"],
  ["Escape", "Stop the reply"],
  ["Ctrl Shift O", "New conversation"],
  ["Ctrl K", "Search the conversations"],
  ["Alt R", "Write the last reply again"],
  ["Alt U", "Edit your last message"],
  ["Alt T", "Unfold or fold the last thinking"],
  ["Alt O", "Options"],
  ["Ctrl /", "This list"],
];

/** Listen to the keys; returns what ends that. On a Mac, Command does what Ctrl does. */
export function listenToKeys({ session, begin, setDialog, setDrawer }) {
  const actions = {
    "ctrl+shift+KeyO": begin,
    "ctrl+KeyK": () => {
      setDrawer(true);
      // The drawer is drawn first: what is hidden can't take the focus.
      setTimeout(() => document.getElementById("search").focus());
    },
    "ctrl+Slash": () => setDialog("shortcuts"),
    "alt+KeyO": () => setDialog("options"),
    "alt+KeyR": () => {
      const reply = last(session, "assistant");
      if (reply && !session.isRunning) session.regenerate(reply);
    },
    "alt+KeyU": () => lastElement("[data-action=edit]")?.click(),
    "alt+KeyT": () => lastElement("details.thinking > summary")?.click(),
    Escape: () => {
      setDrawer(false);
      session.stop();
    },
  };
  const listen = (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const names = [(event.ctrlKey || event.metaKey) && "ctrl", event.altKey && "alt", event.shiftKey && "shift", event.code];
    const action = actions[names.filter(Boolean).join("+")];
    if (!action) return;
    event.preventDefault();
    action();
  };
  addEventListener("keydown", listen);
  return () => removeEventListener("keydown", listen);
}

function last(session, role) {
  return pathTo(session.conversation).findLast((node) => node.role === role);
}

function lastElement(selector) {
  return Array.from(document.querySelectorAll(selector)).at(-1);
}
