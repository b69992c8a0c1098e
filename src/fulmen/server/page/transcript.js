/** The shown branch of the conversation, from its first message to its last, kept at the end while a reply grows. */

import { html, useLayoutEffect, useRef, useState } from "./vendor/htm/preact.js";
import { pathTo } from "./conversation.js";
import { Icon } from "./look.js";
import { Reply } from "./reply_view.js";
import { UserMessage } from "./user_message.js";

const NEAR = 60; // pixels from the end that count as being there
const STARTERS = [
  "Explain lightning attention in five sentences.",
  "Prove that the square root of 2 is irrational.",
  "Write a Python function that merges overlapping intervals.",
];

/** `composer` is the field that a suggestion is written into. */
export function Transcript({ session, composer }) {
  const scroller = useRef(null);
  const follows = useRef(true);
  const height = useRef(0); // where the reader is, in pixels from the top
  const [isAway, setAway] = useState(false);
  const { conversation } = session;
  const path = pathTo(conversation);
  useLayoutEffect(() => {
    follows.current = true;
  }, [conversation.id, path.filter((node) => node.role === "user").at(-1)?.id]);
  useLayoutEffect(() => {
    if (follows.current) scroller.current.scrollTop = scroller.current.scrollHeight;
  });
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR;
    // Content that grows leaves the end behind, too: only going up ends the following.
    if (isNear || scrollTop < height.current) follows.current = isNear;
    height.current = scrollTop;
    setAway(!follows.current);
  };
  const toEnd = () => {
    scroller.current.scrollTop = scroller.current.scrollHeight;
  };
  return html`<div class="transcript" ref=${scroller} onScroll=${onScroll} tabindex="0" role="region" aria-label="Messages">
    ${path.length === 0 && html`<${Welcome} session=${session} composer=${composer} />`}
    <ol class="messages">${path.map((node, index) => html`<${Message} key=${node.id} session=${session} node=${node}
      results=${resultsBehind(path, index)} />`)}</ol>
    ${isAway && html`<button type="button" class="to-end" aria-label="To the end" onClick=${toEnd}><${Icon} name="down" /></button>`}
  </div>`;
}

function Message({ session, node, results }) {
  if (node.role === "tool") return null; // its reply's card shows it
  const message =
    node.role === "user"
      ? html`<${UserMessage} session=${session} node=${node} />`
      : html`<${Reply} session=${session} node=${node} results=${results} />`;
  return html`<li class=${`message ${node.role}`}>${message}</li>`;
}

/** The results that follow a reply, in order. */
function resultsBehind(path, index) {
  const rest = path.slice(index + 1);
  const end = rest.findIndex((node) => node.role !== "tool");
  return end < 0 ? rest : rest.slice(0, end);
}

function Welcome({ session, composer }) {
  const write = (text) => () => {
    composer.current.value = text;
    composer.current.dispatchEvent(new Event("input", { bubbles: true }));
    composer.current.focus();
  };
  return html`<div class="welcome">
    <img src="page/bolt.svg" alt="" width="72" height="72" />
    <h2>What shall we think about?</h2>
    <p>${session.model ? html`<strong>${session.model.id}</strong> answers, on this server.` : "Looking for the model…"}
      ${" "}Conversations are kept in this browser.</p>
    <ul>${STARTERS.map((text) => html`<li><button type="button" onClick=${write(text)}>${text}</button></li>`)}</ul>
  </div>`;
}
