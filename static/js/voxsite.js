/* Small improvements for every page. Without this file everything still works. */
"use strict";

// Copy buttons: <button data-copy="id of a field or a block of text" hidden>.
for (const button of document.querySelectorAll("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!source) continue;
  const word = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = source.value ?? source.textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // No clipboard without a secure connection: select the text, so that the person can copy it.
      if (source.select) source.select();
      else getSelection().selectAllChildren(source);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = word; }, 2000);
  });
}

// Menus close when the person clicks elsewhere or presses Escape.
const openMenus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of openMenus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// On a phone a line of tabs is longer than the screen: the current one comes into view.
for (const tab of document.querySelectorAll(".tabs [aria-current]")) {
  const tabs = tab.closest(".tabs");
  tabs.scrollLeft = tab.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2;
}

// A form is sent once: a second click would stop the first request, and send the form again. Not for ever: a person may
// have stopped a request that took long.
const DOUBLE_CLICK_MS = 5000;
const sentForms = new WeakMap();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  const now = performance.now();
  // Another button of the form is another wish, and so are other choices in its fields: two downloads, one after another.
  const { submitter } = event;
  const fields = JSON.stringify([...new FormData(form)].map(([name, value]) => [name, value.name ?? value]));
  const last = sentForms.get(form);
  const isSame = last && last.submitter === submitter && last.fields === fields;
  if (isSame && now - last.at < DOUBLE_CLICK_MS) event.preventDefault();
  else sentForms.set(form, { at: now, submitter, fields });
});
// The browser's way back shows the page as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) sentForms.delete(form);
});

// A box that checks and unchecks all others of a name: <input type="checkbox" data-check-all="name" hidden>.
const boxesOf = (name) => [...document.querySelectorAll(`input[type=checkbox][name="${CSS.escape(name)}"]`)];
function showChecked(all) {
  const name = all.dataset.checkAll;
  const boxes = boxesOf(name);
  all.hidden = false;
  const checked = boxes.filter((box) => box.checked).length;
  for (const count of document.querySelectorAll(`[data-count-of="${CSS.escape(name)}"]`)) count.textContent = `${checked} selected`;
  all.checked = boxes.length > 0 && checked === boxes.length;
  all.indeterminate = checked > 0 && !all.checked;
}
document.addEventListener("change", ({ target }) => {
  const name = target.dataset?.checkAll ?? target.name;
  const all = name && document.querySelector(`[data-check-all="${CSS.escape(name)}"]`);
  if (!all) return;
  if (target === all) for (const box of boxesOf(name)) box.checked = all.checked;
  showChecked(all);
});
// The server knows neither that the box may be shown nor what is checked.
function showAllChecked() {
  for (const all of document.querySelectorAll("[data-check-all]")) showChecked(all);
}
showAllChecked();
for (const swap of ["htmx:afterSwap", "htmx:oobAfterSwap", "htmx:afterSettle"]) document.addEventListener(swap, showAllChecked);

// What is told to people who do not see the page: text that was changed is read out by a screen reader. The place is never
// replaced, and says something new at most every ten seconds; of several words about one thing, the last is said.
const ANNOUNCED_EVERY_MS = 10_000;
const liveRegion = document.querySelector("[data-live]");
const unsaid = new Map();
let announcedAt = -ANNOUNCED_EVERY_MS;
let announcing = 0;
function sayAll() {
  announcing = 0;
  if (!unsaid.size) return;
  announcedAt = performance.now();
  liveRegion.textContent = [...unsaid.values()].join(". ");
  unsaid.clear();
}
function announce(text, about = "page") {
  if (!liveRegion) return;
  unsaid.set(about, text);
  announcing ||= setTimeout(sayAll, Math.max(0, announcedAt + ANNOUNCED_EVERY_MS - performance.now()));
}
// What htmx replaces every two seconds: the progress of one job, and the rows of jobs in a list.
const statusOf = new Map();
function announceJobs() {
  for (const place of document.querySelectorAll("[data-announced], tr[id^=job-]")) {
    const name = place.querySelector(".cover")?.textContent;
    const status = (place.querySelector(".state") ?? place).textContent.trim().replace(/\s+/g, " ");
    if (statusOf.has(place.id) && statusOf.get(place.id) !== status) announce(name ? `${name}: ${status}` : status, place.id);
    statusOf.set(place.id, status);
  }
}
// What the page shows first is read with it.
announceJobs();
for (const swap of ["htmx:afterSwap", "htmx:oobAfterSwap"]) document.addEventListener(swap, announceJobs);

// A page that waits for something loads itself again: <meta name="reload-seconds" content="5">. Not while somebody uses it,
// so that no focus is lost; without scripts it does by itself.
for (const meta of document.querySelectorAll("meta[name=reload-seconds]")) {
  setInterval(() => {
    const isUsed = document.hidden || (document.activeElement && document.activeElement !== document.body);
    if (!isUsed) location.reload();
  }, Number(meta.content) * 1000);
}

// What the browser keeps for the upload page (kept_files.js) goes when its owner signs out, and on a page that is shown when
// nobody is signed in: the session may have ended by itself, or with the account.
const forgetKeptFiles = () => { indexedDB.deleteDatabase("voxsite"); };
for (const form of document.querySelectorAll("form[data-sign-out]")) form.addEventListener("submit", forgetKeptFiles);
if (document.querySelector("[data-forget-kept]")) forgetKeptFiles();

// A form whose work takes a while is sent once: <form data-once="what the button says meanwhile">.
for (const form of document.querySelectorAll("form[data-once]")) {
  const button = form.querySelector("button");
  const word = button.textContent;
  form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = form.dataset.once;
  });
  // The browser's way back shows the page as it was left.
  addEventListener("pageshow", () => {
    button.disabled = false;
    button.textContent = word;
  });
}
