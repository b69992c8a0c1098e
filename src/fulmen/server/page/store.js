/**
 * Conversations kept in the browser: IndexedDB, or memory where the browser keeps nothing.
 *
 * Two stores: the conversations, and a header for each, so that the list needs no conversation. Two tabs may write
 * the same conversation: messages are only ever added or filled, so the union of both is right, where a reply that is
 * done stays as it is: the other tab may have seen it cut. A name stays as well, as the other tab may know the one
 * before it: only `rename` gives another.
 */

const NAME = "fulmen";
const STORES = ["conversations", "headers"];

/** Open the store. `keeps` says whether it outlives the page. */
export async function openStore() {
  try {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => STORES.forEach((store) => opening.result.createObjectStore(store, { keyPath: "id" }));
    return new BrowserStore(await result(opening));
  } catch {
    return new MemoryStore();
  }
}

class BrowserStore {
  keeps = true;
  #database;

  constructor(database) {
    this.#database = database;
  }

  /** Headers `{ id, title, updated }`, newest first. */
  async list() {
    const [, headers] = this.#open("readonly");
    return newestFirst(await result(headers.getAll()));
  }

  /** The conversation, or undefined. */
  get(id) {
    const [conversations] = this.#open("readonly");
    return result(conversations.get(id));
  }

  /** Write a conversation; throws QuotaExceededError when the browser has no room. */
  async save(conversation) {
    const [conversations, headers] = this.#open("readwrite");
    const write = async () => {
      const kept = union(await result(conversations.get(conversation.id)), conversation);
      conversations.put(kept);
      headers.put(header(kept));
    };
    await Promise.all([write(), ended(conversations.transaction)]);
  }

  /** Give a conversation another name; nothing happens if it has been deleted. */
  async rename(id, title) {
    const [conversations, headers] = this.#open("readwrite");
    const write = async () => {
      const stored = await result(conversations.get(id));
      if (!stored) return;
      conversations.put({ ...stored, title });
      headers.put(header({ ...stored, title }));
    };
    await Promise.all([write(), ended(conversations.transaction)]);
  }

  /** Forget a conversation. */
  async remove(id) {
    const [conversations, headers] = this.#open("readwrite");
    conversations.delete(id);
    headers.delete(id);
    await ended(conversations.transaction);
  }

  /** Ids of the conversations that hold the words, in any message of any branch. */
  async search(words) {
    const [conversations] = this.#open("readonly");
    const found = [];
    const asking = conversations.openCursor(); // one at a time: together they may not fit into memory
    return new Promise((resolve, reject) => {
      asking.onerror = () => reject(asking.error);
      asking.onsuccess = () => {
        const cursor = asking.result;
        if (!cursor) return resolve(found);
        if (holds(cursor.value, words)) found.push(cursor.value.id);
        cursor.continue();
      };
    });
  }

  #open(mode) {
    const transaction = this.#database.transaction(STORES, mode);
    return STORES.map((store) => transaction.objectStore(store));
  }
}

class MemoryStore {
  keeps = false;
  #conversations = new Map();

  async list() {
    return newestFirst(Array.from(this.#conversations.values(), header));
  }

  async get(id) {
    return this.#conversations.get(id);
  }

  async save(conversation) {
    this.#conversations.set(conversation.id, union(this.#conversations.get(conversation.id), conversation));
  }

  async rename(id, title) {
    const stored = this.#conversations.get(id);
    if (stored) this.#conversations.set(id, { ...stored, title });
  }

  async remove(id) {
    this.#conversations.delete(id);
  }

  async search(words) {
    return Array.from(this.#conversations.values()).filter((one) => holds(one, words)).map(({ id }) => id);
  }
}

function union(stored, written) {
  if (!stored) return written;
  const done = Object.entries(stored.nodes).filter(([, { status }]) => status === "done");
  const nodes = { ...stored.nodes, ...written.nodes, ...Object.fromEntries(done) };
  return { ...written, title: stored.title || written.title, nodes };
}

function header({ id, title, updated }) {
  return { id, title, updated };
}

function newestFirst(headers) {
  return headers.sort((a, b) => b.updated - a.updated);
}

function holds(conversation, words) {
  const sought = words.toLowerCase();
  const texts = [conversation.title, ...Object.values(conversation.nodes).map((node) => node.content)];
  return texts.some((text) => text.toLowerCase().includes(sought));
}

function result(asking) {
  return new Promise((resolve, reject) => {
    asking.onsuccess = () => resolve(asking.result);
    asking.onerror = () => reject(asking.error);
  });
}

function ended(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
