/**
 * What the page knows and what it can do; the components only show it and call it.
 *
 * A conversation is replaced, never changed, so whatever was drawn stays true until the next drawing. Replies go on
 * when another conversation is opened: `#running` has what ends them, `#loaded` the conversations in hand.
 */

import { ApiError, fetchModel, setApiKey, streamChat } from "./api.js";
import * as tree from "./conversation.js";
import { errorWords } from "./errors.js";
import { remember } from "./look.js";
import { emptyReply, ReplyReader } from "./reply.js";
import { readTools } from "./toolspecs.js";

const OPTIONS = "fulmen.options";
const DRAW_MS = 40;
const SAVE_MS = 1500;
const SKIPPED = "The user gave no result and went on.";

/** The state of the page. `subscribe` tells when it has changed. */
export class Session {
  model = null;
  /** Why the model isn't known: an ApiError. */
  problem = null;
  headers = [];
  conversation = tree.newConversation(startingOptions());
  /** Ids that a search has found; null when nothing is sought. */
  found = null;
  asksForKey = false;
  /** Something the reader should know that belongs to no message. */
  notice = "";
  /** Read out by screen readers. */
  announcement = "";

  #store;
  #listeners = new Set();
  #running = new Map();
  #loaded = new Map();
  #channel = new BroadcastChannel("fulmen");

  /** Keep conversations in `store`. */
  constructor(store) {
    this.#store = store;
    this.#loaded.set(this.conversation.id, this.conversation);
    if (!store.keeps) this.notice = "This browser keeps nothing: conversations are lost when the page is closed.";
    this.#channel.onmessage = () => this.#follow();
  }

  /** Call `listener` after each change; returns what ends that. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether the shown conversation's reply is being written. */
  get isRunning() {
    return this.#running.has(this.conversation.id);
  }

  /** List the conversations, open the one that was open, and ask the server for its model. */
  async start() {
    await this.#list();
    const id = location.hash.slice(1);
    if (this.headers.some((header) => header.id === id)) await this.open(id);
    await this.connect();
  }

  /** Ask the server what it has. */
  async connect() {
    try {
      this.model = await fetchModel();
      this.problem = null;
      this.asksForKey = false;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.problem = error;
      this.asksForKey = error.kind === "key";
    }
    this.#changed();
  }

  /** Use a key; what failed for want of it is tried again. */
  async useKey(key) {
    setApiKey(key);
    await this.connect();
    const leaf = this.conversation.nodes[this.conversation.leaf];
    if (!this.problem && leaf?.error?.kind === "key") await this.regenerate(leaf);
  }

  /** Ask the reader for a key. */
  askForKey() {
    this.asksForKey = true;
    this.#changed();
  }

  /** Close the question for a key. */
  withoutKey() {
    this.asksForKey = false;
    this.#changed();
  }

  /** Begin a conversation with the options of this one. */
  create() {
    this.#show(tree.newConversation({ ...this.conversation.options }));
  }

  /** Show a conversation of the list. */
  async open(id) {
    const conversation = this.#loaded.get(id) ?? (await this.#store.get(id));
    if (conversation) this.#show(this.#running.has(id) ? conversation : withoutStreaming(conversation));
    else await this.#list(); // another tab has deleted it
  }

  /** Give a conversation another name. */
  async rename(id, title) {
    await this.#write(() => this.#store.rename(id, title));
  }

  /** Forget a conversation, and end its reply. */
  async remove(id) {
    this.#running.get(id)?.abort();
    this.#loaded.delete(id);
    await this.#store.remove(id);
    if (this.conversation.id === id) this.create();
    await this.#list();
    this.#channel.postMessage("changed");
  }

  /** Show only the conversations that hold the words; all when there are none. */
  async search(words) {
    this.found = words.trim() ? new Set(await this.#store.search(words.trim())) : null;
    this.#changed();
  }

  /** Change options of the conversation; the next one begins with them. */
  async setOptions(options) {
    this.#put({ ...this.conversation, options: { ...this.conversation.options, ...options } });
    remember(OPTIONS, JSON.stringify(this.conversation.options));
    if (this.conversation.leaf) await this.#save(this.conversation.id);
  }

  /** Say something. Tool calls that still wait for a result get one that says so. */
  async send(content) {
    const calls = tree.pendingCalls(this.conversation);
    let next = withResults(this.conversation, calls, () => SKIPPED);
    next = tree.append(next, next.leaf, { role: "user", content });
    await this.#answer({ ...next, title: next.title || tree.titleFrom(content) });
  }

  /** Say something else instead of a message; both branches are kept. */
  async edit(node, content) {
    await this.#answer(tree.append(this.conversation, node.parent, { role: "user", content }));
  }

  /** Answer the calls of a reply: `results` is by the calls' ids. Later answers to the same reply are branches. */
  async giveResults(node, results) {
    const at = { ...this.conversation, leaf: node.id };
    await this.#answer(withResults(at, node.calls, (call) => results[call.id]));
  }

  /** Write a reply again: beside the old one, or in its place if nothing came of it. */
  async regenerate(node) {
    const isEmpty = node.status === "failed" && !node.content && !node.thinking;
    await this.#answer({ ...this.conversation, leaf: node.parent }, isEmpty ? node : null);
  }

  /** End the reply that is being written. */
  stop() {
    this.#running.get(this.conversation.id)?.abort();
  }

  /** Show another branch. It is saved first: what is shown is found again. */
  async switchTo(node) {
    const switched = tree.switchTo(this.conversation, node.id);
    await this.#keep(switched);
    this.#put(switched);
  }

  /** Forget the notice. */
  dismiss() {
    this.notice = "";
    this.#changed();
  }

  async #answer(conversation, replaced = null) {
    const { id, leaf, options } = conversation;
    if (this.#running.has(id)) return;
    const reply = emptyReply(this.model?.id ?? null, options.budget ?? this.model?.thinking_budget ?? null);
    const kept = replaced && { id: replaced.id, created: replaced.created };
    const started = tree.append(conversation, leaf, { ...reply, ...kept });
    const reader = new ReplyReader(started.nodes[started.leaf]);
    const controller = new AbortController();
    this.#running.set(id, controller);
    this.announcement = ""; // the same words would not be read out twice
    this.#put(started);
    showAddress(started);
    this.#save(id);
    const draw = paced(DRAW_MS, () => this.#update(id, reader.node));
    const save = paced(SAVE_MS, () => this.#save(id));
    try {
      const model = (await this.#knownModel()).id;
      for await (const chunk of streamChat({ model, ...requestBody(started, leaf) }, controller.signal)) {
        reader.take(chunk);
        draw();
        save();
      }
      reader.end("done");
    } catch (error) {
      if (controller.signal.aborted) reader.end("stopped");
      else if (error instanceof ApiError) reader.fail(error);
      else throw error;
      if (error.kind === "other-model") this.model = null; // the next reply asks for it
    } finally {
      draw.cancel();
      save.cancel();
      await this.#finish(id, reader.node);
    }
  }

  async #knownModel() {
    if (!this.model) await this.connect();
    if (!this.model) throw this.problem;
    return this.model;
  }

  /** What is shown as ended has been saved: a page that is left then loses nothing. */
  async #finish(id, node) {
    const conversation = this.#loaded.get(id);
    try {
      if (conversation) await this.#keep(tree.replaceNode(conversation, node)); // else it was deleted meanwhile
    } finally {
      this.#running.delete(id);
      this.asksForKey ||= node.error?.kind === "key";
      this.announcement = outcome(node);
      this.#update(id, node);
      if (id !== this.conversation.id) this.#loaded.delete(id);
    }
  }

  #update(id, node) {
    const conversation = this.#loaded.get(id);
    if (conversation) this.#put(tree.replaceNode(conversation, node));
  }

  #put(conversation) {
    this.#loaded.set(conversation.id, conversation);
    if (conversation.id === this.conversation.id) this.conversation = conversation;
    this.#changed();
  }

  #show(conversation) {
    if (!this.#running.has(this.conversation.id)) this.#loaded.delete(this.conversation.id);
    this.#loaded.set(conversation.id, conversation);
    this.conversation = conversation;
    this.announcement = "";
    showAddress(conversation);
    this.#changed();
  }

  async #save(id) {
    const conversation = this.#loaded.get(id);
    if (conversation) await this.#keep(conversation);
  }

  async #keep(conversation) {
    await this.#write(() => this.#store.save(conversation));
  }

  async #write(action) {
    try {
      await action();
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      this.notice = "The browser has no room left: this conversation is not kept. Export it, or delete old ones.";
    }
    await this.#list();
    this.#channel.postMessage("changed");
  }

  /** Read the list. The conversations in hand take their names from it: this or another tab may have given new ones. */
  async #list() {
    this.headers = await this.#store.list();
    for (const { id, title } of this.headers) {
      const conversation = this.#loaded.get(id);
      if (conversation && conversation.title !== title) this.#put({ ...conversation, title });
    }
    this.#changed();
  }

  /** Another tab has changed something. What it deleted is forgotten here, too: the next save would bring it back. */
  async #follow() {
    const before = this.headers;
    await this.#list();
    const gone = before.map(({ id }) => id).filter((id) => !this.headers.some((header) => header.id === id));
    for (const id of gone) {
      this.#running.get(id)?.abort();
      this.#loaded.delete(id);
      if (id === this.conversation.id) this.create();
    }
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }
}

function requestBody(conversation, leaf) {
  const { options } = conversation;
  const { tools } = readTools(options.tools);
  const body = {
    messages: tree.requestMessages(conversation, leaf),
    stream: true,
    stream_options: { include_usage: true },
  };
  if (tools?.length) body.tools = tools;
  if (options.budget !== null) body.thinking_budget = options.budget;
  if (options.temperature !== null) body.temperature = options.temperature;
  if (options.maxTokens !== null) body.max_tokens = options.maxTokens;
  return body;
}

function withResults(conversation, calls, contentOf) {
  return calls.reduce((grown, call) => {
    const result = { role: "tool", callId: call.id, name: call.name, content: contentOf(call) };
    return tree.append(grown, grown.leaf, result);
  }, conversation);
}

/** The address by which a reload finds the conversation again. */
function showAddress({ id, leaf }) {
  history.replaceState(null, "", leaf ? `#${id}` : location.pathname);
}

/** A reply that streams in a stored conversation was cut off when its page was closed. */
function withoutStreaming(conversation) {
  const nodes = Object.values(conversation.nodes).map((node) => [
    node.id,
    node.status === "streaming" ? { ...node, status: "stopped" } : node,
  ]);
  return { ...conversation, nodes: Object.fromEntries(nodes) };
}

function startingOptions() {
  const plain = { system: "", tools: "", budget: null, temperature: null, maxTokens: null };
  try {
    return { ...plain, ...JSON.parse(localStorage.getItem(OPTIONS)) };
  } catch {
    return plain;
  }
}

function outcome(node) {
  if (node.error) return `${errorWords(node.error).title}. ${node.error.message}`;
  if (node.status === "stopped") return "Stopped.";
  if (node.calls.length) return `The model calls ${node.calls.map((call) => call.name).join(", ")} and waits for a result.`;
  return `The reply is finished: ${node.content.slice(0, 400).replace(/[*_`#$|]+/g, "")}`;
}

/** Call `action` at most once in `ms`, the last time included. */
function paced(ms, action) {
  let timer = null;
  const call = () => {
    timer ??= setTimeout(() => {
      timer = null;
      action();
    }, ms);
  };
  call.cancel = () => clearTimeout(timer);
  return call;
}
