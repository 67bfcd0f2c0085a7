/* Files that the browser keeps for a page: whoever pays, reloads or goes back finds them still chosen.

   They are in the browser's database, under a key of the person and the organization, for a day. The upload page deletes
   what is older, and what other people left. Signing out, signing in, signing up and deleting an account delete all
   (voxsite.js). Where the browser has no database, or no room, nothing is kept. */
"use strict";

const KEPT_MS = 24 * 3600 * 1000;
const keyRange = (key) => IDBKeyRange.bound(key, `${key}\uffff`);
// A recording is kept in pieces, each with a number, and is as old as its newest piece.
const wholeOf = (key) => key.replace(/:\d{6}$/, "");

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
  under(key) {
    return this.walk(keyRange(key), "");
  },

  // Deletes what is older than a day, and what belongs to other people. `person` begins all keys of this one.
  sweep(person) {
    return this.walk(null, person);
  },

  // Finds and deletes in one transaction, so that no row is deleted which another window has just renewed.
  async walk(range, person) {
    const found = [];
    await this.ask("readwrite", (store) => {
      const keys = store.getAllKeys(range);
      const rows = store.getAll(range);
      rows.addEventListener("success", () => {
        const newest = new Map();
        rows.result.forEach(({ at }, number) => {
          const whole = wholeOf(keys.result[number]);
          newest.set(whole, Math.max(at, newest.get(whole) ?? 0));
        });
        rows.result.forEach(({ value }, number) => {
          const key = keys.result[number];
          const isFresh = Date.now() - newest.get(wholeOf(key)) < KEPT_MS;
          if (isFresh && key.startsWith(person)) found.push([key, value]);
          else store.delete(key);
        });
      });
      return rows;
    });
    return found;
  },

  forget(key) {
    return this.ask("readwrite", (store) => store.delete(keyRange(key)));
  },
};
