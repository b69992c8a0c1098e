/**
 * A conversation as a tree of messages, and what can be done with it. Nothing here changes its arguments.
 *
 *     { id, title, created, updated, options, leaf, nodes: { [id]: node } }
 *
 * Every node has an id, a parent (null for the first), a role and the time it was made. What is edited or written
 * again becomes a sibling, so nothing is lost; `leaf` says which branch is shown.
 *
 *     user       content
 *     assistant  thinking, content, calls, status (streaming, done, stopped, failed), error, finish, stats, budget
 *     tool       callId, name, content
 */

/** An id that nobody else has; `crypto.randomUUID` is missing where the page came over plain HTTP. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A conversation in which nothing has been said. */
export function newConversation(options) {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, options, leaf: null, nodes: {} };
}

/** The messages from the first one to `id`. */
export function pathTo(conversation, id = conversation.leaf) {
  const path = [];
  for (let node = conversation.nodes[id]; node; node = conversation.nodes[node.parent]) path.unshift(node);
  return path;
}

/** The node's alternatives in the order they were made, itself among them. */
export function siblings(conversation, node) {
  return childrenOf(conversation, node.parent);
}

/** Add a message behind `parent` and show it. */
export function append(conversation, parent, fields) {
  const node = { id: newId(), created: Date.now(), ...fields, parent };
  return {
    ...conversation,
    updated: node.created,
    leaf: node.id,
    nodes: { ...conversation.nodes, [node.id]: node },
  };
}

/** Put another state of a message in its place. */
export function replaceNode(conversation, node) {
  return { ...conversation, updated: Date.now(), nodes: { ...conversation.nodes, [node.id]: node } };
}

/** Show the branch that `id` is on, down to its newest message. */
export function switchTo(conversation, id) {
  let leaf = id;
  for (let next = [id]; next.length; next = childrenOf(conversation, leaf).map((node) => node.id)) leaf = next.at(-1);
  return { ...conversation, leaf };
}

/** The last reply's tool calls if it waits for their results, else none. */
export function pendingCalls(conversation) {
  const leaf = conversation.nodes[conversation.leaf];
  return leaf?.role === "assistant" && leaf.status === "done" ? leaf.calls : [];
}

/** The messages up to `id`, as the server wants them. */
export function requestMessages(conversation, id) {
  const { system } = conversation.options;
  const messages = pathTo(conversation, id).filter(isSaid).map(toMessage);
  return system.trim() ? [{ role: "system", content: system }, ...messages] : messages;
}

/** The first line of the first message, cut to a length that a list can show. */
export function titleFrom(text) {
  const line = text.trim().split("\n", 1)[0];
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}\u2026` : line;
}

/** The shown branch in Markdown, thinking and tool calls included. */
export function toMarkdown(conversation) {
  const parts = [`# ${conversation.title || "Conversation"}`];
  if (conversation.options.system.trim()) parts.push("## System", conversation.options.system);
  for (const node of pathTo(conversation)) {
    if (node.role === "user") parts.push("## You", node.content);
    if (node.role === "tool") parts.push(`## Result of ${node.name}`, fenced(node.content));
    if (node.role !== "assistant") continue;
    parts.push("## Model");
    if (node.thinking) parts.push("<details><summary>Thinking</summary>", node.thinking, "</details>");
    if (node.content) parts.push(node.content);
    for (const call of node.calls) parts.push(`Calls \`${call.name}\` with`, fenced(call.arguments, "json"));
    if (node.error) parts.push(`*${node.error.message}*`);
  }
  return `${parts.join("\n\n")}\n`;
}

/** All branches, as they are kept. */
export function toJson(conversation) {
  return JSON.stringify(conversation, null, 2);
}

/** A tool call's arguments if they are a JSON object, else null. */
export function readArguments(call) {
  try {
    const value = JSON.parse(call.arguments || "{}");
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function childrenOf(conversation, parent) {
  const children = Object.values(conversation.nodes).filter((node) => node.parent === parent);
  return children.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
}

/** A reply that failed before it began says nothing to the model. */
function isSaid(node) {
  return node.role !== "assistant" || Boolean(node.content || node.thinking || node.calls.length);
}

function toMessage(node) {
  if (node.role === "user") return { role: "user", content: node.content };
  if (node.role === "tool") return { role: "tool", tool_call_id: node.callId, name: node.name, content: node.content };
  const message = { role: "assistant", content: node.content };
  if (node.thinking !== null) message.reasoning_content = node.thinking;
  if (node.status === "done" && node.calls.length) { // of a reply that was stopped, a call may lack its end
    message.tool_calls = node.calls.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    }));
  }
  return message;
}

function fenced(text, language = "") {
  const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), (match) => match[0].length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${text}\n${fence}`;
}
