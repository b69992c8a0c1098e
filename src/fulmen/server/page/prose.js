/** Markdown and code as components; their insides are `markdown.js`'s, drawn again only when the text has changed. */

import { Component, html } from "./vendor/htm/preact.js";
import { copyText } from "./look.js";
import { colouredCode, renderMarkdown } from "./markdown.js";

/** `text` as Markdown. */
export class Markdown extends Component {
  shouldComponentUpdate({ text }) {
    if (text !== this.props.text) renderMarkdown(this.base, text);
    return false;
  }

  componentDidMount() {
    renderMarkdown(this.base, this.props.text);
  }

  render() {
    return html`<div class="prose" onClick=${copyFrom} />`;
  }
}

/** `text` as a block of code in `language`. */
export class Code extends Component {
  shouldComponentUpdate({ text }) {
    if (text !== this.props.text) this.#fill(text);
    return false;
  }

  componentDidMount() {
    this.#fill(this.props.text);
  }

  render() {
    return html`<pre class="data" tabindex="0" role="region" aria-label=${this.props.label} />`;
  }

  #fill(text) {
    this.base.replaceChildren(colouredCode(text, this.props.language));
  }
}

/** One listener for all copy buttons of a text. */
async function copyFrom(event) {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await copyText(button.closest(".code").querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => {
    button.textContent = "Copy";
  }, 1500);
}
