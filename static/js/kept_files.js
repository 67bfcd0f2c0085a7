/* Files that the browser keeps for a page: whoever pays, reloads or goes back finds them still chosen.

   They are in the browser's database, under a key of the person and the organization, for a day. Signing out deletes them
   (voxsite.js). Where the browser has no database, or no room, nothing is kept. */
"use strict";

const KEPT_MS = 24 * 3600 * 1000;

const keptFiles = {
  database: null,

  // A request of the store, as a promise. Without a store it is undefined.
  async ask(mode, request) {
    try {
      this.database ??= new Promise((resolve, reject) => {
        const opening = indexedDB.open("voxsite", 1);
        opening.onupgradeneeded = () => opening.result.createObjectStore("files");
        opening.onsuccess = () => {
          // Another window deletes it.
          opening.result.onversionchange = () => opening.result.close();
          resolve(opening.result);
        };
        opening.onerror = () => reject(opening.error);
      });
      const store = (await this.database).transaction("files", mode).objectStore("files");
      return await new Promise((resolve, reject) => {
        const asked = request(store);
        asked.onsuccess = () => resolve(asked.result);
        asked.onerror = () => reject(asked.error);
      });
    } catch {
      return undefined;
    }
  },

  put(key, value) {
    return this.ask("readwrite", (store) => store.put({ at: Date.now(), value }, key));
  },

  // What begins with this key, as [key, value], in the order of the keys. What is older than a day is deleted.
  async under(key) {
    const range = IDBKeyRange.bound(key, `${key}\uffff`);
    const keys = (await this.ask("readonly", (store) => store.getAllKeys(range))) ?? [];
    const rows = (await this.ask("readonly", (store) => store.getAll(range))) ?? [];
    const isFresh = (row) => row && Date.now() - row.at < KEPT_MS;
    if (rows.some((row) => !isFresh(row))) await this.forget(key);
    return rows.every(isFresh) ? rows.map((row, number) => [keys[number], row.value]) : [];
  },

  forget(key) {
    return this.ask("readwrite", (store) => store.delete(IDBKeyRange.bound(key, `${key}\uffff`)));
  },
};
