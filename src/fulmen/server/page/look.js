/** Small things of the screen: the icons, the theme, numbers in words, and the clipboard. */

import { html } from "./vendor/htm/preact.js";

const ICONS = {
  add: "M8 3v10M3 8h10",
  menu: "M2.5 4h11M2.5 8h11M2.5 12h7",
  close: "m4 4 8 8m0-8-8 8",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9Zm3.3-1.2 3.2 3.2",
  rename: "m3 13 .6-2.7 7-7a1.4 1.4 0 0 1 2 0l.1.1a1.4 1.4 0 0 1 0 2l-7 7L3 13Zm6.4-8.4 2 2",
  remove: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.6 9h5.8l.6-9M6.8 7v4m2.4-4v4",
  export: "M8 2.5v7.5m0 0L5 7.2M8 10l3-2.8M3 11v2.5h10V11",
  options: "M2.5 5h6m3 0h2M2.5 11h2m3 0h6M10 6.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3Zm-4 6a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3Z",
  keyboard: "M2 4.5h12v7H2zM4.5 7h.01M7 7h.01M9.5 7h.01M12 7h-.01M5 9.3h6",
  auto: "M8 2.5v11m0-11a5.5 5.5 0 0 1 0 11m0-11a5.5 5.5 0 0 0 0 11",
  light: "M8 10.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM8 1.5v1.2m0 10.6v1.2M1.5 8h1.2m10.6 0h1.2M3.4 3.4l.9.9m7.4 7.4.9.9m0-9.2-.9.9m-7.4 7.4-.9.9",
  dark: "M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8Z",
  send: "M8 13V3m0 0L3.8 7.2M8 3l4.2 4.2",
  copy: "M6 5.5h7v8H6zM10 5.5v-3H3v8h3",
  done: "m3 8.5 3.3 3.3L13 4.8",
  again: "M13 3v3.5H9.5M12.8 6.5a5.2 5.2 0 1 0 .4 3",
  left: "m9.8 3.5-4.5 4.5 4.5 4.5",
  right: "m6.2 3.5 4.5 4.5-4.5 4.5",
  down: "M8 3v10m0 0 4-4m-4 4L4 9",
  tool: "M9.6 6.4 3.2 12.8m5.5-9.5a3.3 3.3 0 0 0 4 4.3l.6-.2-2.1-2.1-1.2.3-.3-.3.3-1.2-2.1-2.1-.2.6c-.1.2-.1.5 0 .7Z",
  thought: "M5 9.5a4 4 0 1 1 6 0c-.7.8-1 1.3-1 2H6c0-.7-.3-1.2-1-2Zm1.3 4h3.4",
  warn: "M8 2.5 14 13H2L8 2.5Zm0 4v3m0 1.8v.1",
  key: "M9.2 6.8 3 13m1.6-1.6 1.6 1.6M13 5.6a2.6 2.6 0 1 1-5.2 0 2.6 2.6 0 0 1 5.2 0Z",
};

/** One of the line icons above; decoration, so a button names itself by `aria-label`. */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

/** A round button with an icon; `label` is its name for screen readers and its tooltip. */
export function IconButton({ icon, label, ...rest }) {
  return html`<button type="button" class="icon-button" aria-label=${label} title=${label} ...${rest}>
    <${Icon} name=${icon} />
  </button>`;
}

export const THEMES = ["auto", "light", "dark"];

/** The theme that is chosen now. */
export function theme() {
  return document.documentElement.dataset.theme;
}

/** Choose a theme, for later visits too. */
export function setTheme(name) {
  document.documentElement.dataset.theme = name;
  remember("fulmen.theme", name);
}

/** Keep a small setting; a browser that keeps nothing forgets it with the page. */
export function remember(key, text) {
  try {
    localStorage.setItem(key, text);
  } catch {
    // Storage is off or full: the choice holds until the page is closed.
  }
}

/** 1234567 as "1,234,567". */
export function count(number) {
  return number.toLocaleString("en-US");
}

/** 40000 as "40K", for scales where digits don't matter. */
export function brief(number) {
  if (number < 1000) return String(number);
  if (number < 1e6) return `${Number((number / 1e3).toPrecision(3))}K`;
  return `${Number((number / 1e6).toPrecision(3))}M`;
}

/** Seconds in words that fit into a line. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** Put text on the clipboard; works where the page came over plain HTTP from another machine, too. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = Object.assign(document.createElement("textarea"), { value: text, readOnly: true });
  area.className = "off-screen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Put the focus into the field for the message, where it belongs when what had it goes away. */
export function focusMessage() {
  document.getElementById("message").focus();
}

/** Save text as a file of the reader's. */
export function download(name, text, mediaType) {
  const address = URL.createObjectURL(new Blob([text], { type: mediaType }));
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
