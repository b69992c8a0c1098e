/**
 * Text that a model wrote, to elements: Markdown, mathematics and code.
 *
 * Nothing that a model writes is trusted. HTML in it is shown as text; what the Markdown parser, KaTeX and the
 * highlighter make of the rest goes through DOMPurify, with a list of what may stay; the page's policy would stop what
 * got through all the same.
 */

import "./vendor/dompurify/purify.js";
import "./vendor/katex/katex.js";
import hljs from "./vendor/highlight/core.js";
import { Marked } from "./vendor/marked/marked.js";
import { LANGUAGES } from "./languages.js";

const { DOMPurify, katex } = globalThis;
const LONGEST_COLOURED = 50_000;
const ALIASES = { py: "python", js: "javascript", ts: "typescript", sh: "bash", shell: "bash", html: "xml", toml: "ini",
  yml: "yaml", md: "markdown", "c++": "cpp", rs: "rust", patch: "diff" };
const PROSE = {
  ALLOWED_TAGS: ["p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "h3", "h4", "h5",
    "h6", "table", "thead", "tbody", "tr", "th", "td", "a", "img", "span", "div"],
  ALLOWED_ATTR: ["href", "title", "alt", "src", "class", "start", "align", "data-language", "data-display"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};
const CODE = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };
const FORMULA = {
  USE_PROFILES: { html: true, mathMl: true, svg: true },
  ADD_TAGS: ["semantics", "annotation"],
  ADD_ATTR: ["encoding"],
  FORBID_TAGS: ["a", "img", "style", "form", "input"],
  RETURN_DOM_FRAGMENT: true,
};

for (const [name, grammar] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, grammar);

const marked = new Marked({ gfm: true, extensions: mathExtensions(), renderer: renderer() });
const PICTURE = /^data:image\/(?:png|jpeg|gif|webp);base64,(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const shown = new WeakMap(); // container -> { links, blocks: [{ raw, element }] }, what it shows

/** Show `text` in `container`. Blocks that have not changed since the last time stay as they are. */
export function renderMarkdown(container, text) {
  const lexed = marked.lexer(text);
  const tokens = lexed.filter(({ type }) => type !== "space" && type !== "def");
  const links = JSON.stringify(lexed.links); // a definition may come long after the text that refers to it
  const before = shown.get(container);
  const known = before?.blocks ?? [];
  const blocks = tokens.map((token, index) => {
    if (known[index]?.raw === token.raw && before.links === links) return known[index];
    const block = { raw: token.raw, element: renderBlock(token) };
    if (known[index]) known[index].element.replaceWith(block.element);
    else container.append(block.element);
    return block;
  });
  for (const { element } of known.slice(blocks.length)) element.remove();
  shown.set(container, { links, blocks });
}

/** Coloured JSON or other code, as a fragment. */
export function colouredCode(text, language) {
  const name = ALIASES[language] ?? language;
  if (!hljs.getLanguage(name) || text.length > LONGEST_COLOURED) return document.createTextNode(text);
  return DOMPurify.sanitize(hljs.highlight(text, { language: name, ignoreIllegals: true }).value, CODE);
}

function renderBlock(token) {
  const block = document.createElement("div");
  block.className = "block";
  block.append(DOMPurify.sanitize(marked.parser([token]), PROSE));
  for (const link of block.querySelectorAll("a[href]")) {
    Object.assign(link, { target: "_blank", rel: "noopener noreferrer" });
  }
  for (const formula of block.querySelectorAll(".math")) renderFormula(formula);
  for (const code of block.querySelectorAll(".code")) finishCode(code);
  for (const table of block.querySelectorAll("table")) makeScrollable(table);
  return block;
}

function renderFormula(element) {
  const tex = element.textContent;
  const options = { displayMode: element.dataset.display === "true", trust: false, strict: false, maxSize: 30, maxExpand: 500 };
  try {
    // The policy forbids style attributes in markup, and KaTeX writes many: they travel under another name and are set
    // as properties. KaTeX escapes quotes everywhere else, so this text is an attribute wherever it stands.
    const markup = katex.renderToString(tex, options).replaceAll(' style="', ' data-css="');
    element.replaceChildren(DOMPurify.sanitize(markup, FORMULA));
    for (const styled of element.querySelectorAll("[data-css]")) {
      styled.style.cssText = styled.dataset.css;
      styled.removeAttribute("data-css");
    }
  } catch (error) {
    if (!(error instanceof katex.ParseError)) throw error;
    element.classList.add("wrong"); // the TeX itself stays, with the reason beside it
    element.title = error.message;
  }
}

function finishCode(box) {
  const code = box.querySelector("code");
  const text = code.textContent;
  const language = box.dataset.language ?? "";
  code.replaceChildren(colouredCode(text, language));
  const head = Object.assign(document.createElement("div"), { className: "code-head" });
  const label = Object.assign(document.createElement("span"), { textContent: language || "text" });
  const copy = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "Copy" });
  copy.setAttribute("aria-label", `Copy the ${language || "text"} code`);
  head.append(label, copy);
  box.prepend(head);
  scrollsByKeys(box.querySelector("pre"), "Code");
}

function makeScrollable(table) {
  const box = Object.assign(document.createElement("div"), { className: "table" });
  table.replaceWith(box);
  box.append(table);
  scrollsByKeys(box, "Table");
}

/** What scrolls sideways must take the focus, or no key reaches its end. */
function scrollsByKeys(element, name) {
  element.tabIndex = 0;
  element.setAttribute("role", "region");
  element.setAttribute("aria-label", name);
}

function renderer() {
  return {
    html({ text, block }) {
      return block ? `<p>${escape(text)}</p>` : escape(text);
    },
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6); // the page has used the first two
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    code({ text, lang }) {
      const language = (lang ?? "").trim().split(/\s/, 1)[0].toLowerCase();
      return `<div class="code" data-language="${escape(language)}"><pre><code>${escape(text)}</code></pre></div>`;
    },
    image({ href, text }) {
      // A picture from elsewhere would tell that host what is read here: it becomes a link.
      const name = escape(text || "image");
      return PICTURE.test(href) ? `<img src="${escape(href)}" alt="${name}">` : `<a href="${escape(href)}">${name}</a>`;
    },
    checkbox({ checked }) {
      return checked ? "\u2611 " : "\u2610 ";
    },
  };
}

/** `$..$`, `\(..\)`, `$$..$$` and `\[..\]`; a dollar opens only before, and closes only behind, what is no space. */
function mathExtensions() {
  const display = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])/;
  const alone = /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]) *(?:\n+|$)/;
  const inline = /^(?:\\\(([\s\S]+?)\\\)|\$(?![\s$])((?:\\.|[^\\$\n])*?[^\s\\$])\$(?!\d))/;
  const render = ({ type, tex, display: block }) => {
    const tag = type === "formula" ? "div" : "span"; // no div fits into a paragraph
    return `<${tag} class="math" data-display="${block}">${escape(tex)}</${tag}>`;
  };
  const extension = (name, level, start, rules) => ({
    name,
    level,
    start: (source) => {
      const index = source.search(start);
      return index < 0 ? undefined : index;
    },
    tokenizer(source) {
      for (const [rule, block] of rules) {
        const match = rule.exec(source);
        if (match) return { type: name, raw: match[0], tex: (match[1] ?? match[2]).trim(), display: block };
      }
      return undefined;
    },
    renderer: render,
  });
  return [
    extension("formula", "block", /(?<=\n) {0,3}(?:\$\$|\\\[)/, [[alone, true]]),
    extension("inlineFormula", "inline", /\$|\\[([]/, [[display, true], [inline, false]]),
  ];
}

function escape(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character]);
}
