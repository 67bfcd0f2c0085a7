/* Corrects a transcript in place: sentences that save themselves, undo, find and replace, and who speaks.
   Comes after transcript.js and uses what is declared there. */
"use strict";

const SAVE_AFTER_MS = 1000;
const RETRY_AFTER_MS = 5000;
const editbar = document.querySelector("[data-editbar]");
const editButton = document.querySelector("[data-edit]");
const undoButton = editbar.querySelector("[data-undo]");
const saved = editbar.querySelector("[data-saved]");
const token = document.querySelector("[name=csrfmiddlewaretoken]")?.value;
// What one request carries: far less than the site takes, so that a failure costs little.
const MAX_LINES = 200;
const MAX_BYTES = 200_000;
// Of each line, the text that the server has.
const stored = new Map();
// Lines to be sent, those of them that Undo changed, and those that the server refused, with its words.
const waiting = new Set();
const undone = new Set();
const refused = new Map();
const undoable = [];
let timer = 0;
let isSending = false;
let sent = Promise.resolve();

// As `_cleaned` in transcription/jobs/editing.py: in one line. Blanks such as that before a French colon are text.
const BREAKS = /[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+/;
const trimmed = (part) => part.replace(/\p{Cc}/gu, "").replace(/^ +| +$/g, "");
const folded = (text) => text.split(BREAKS).map(trimmed).filter(Boolean).join(" ");
const textOf = (line) => folded(line.textContent);
const isChanged = (line) => textOf(line) !== folded(stored.get(line));

// --- Saving ---

function later(ms = SAVE_AFTER_MS) {
  clearTimeout(timer);
  timer = setTimeout(() => save(), ms);
}

// Send these lines and those that wait, once nothing else is being sent.
function save(changed = []) {
  for (const line of changed) waiting.add(line);
  clearTimeout(timer);
  sent = sent.then(sendWaiting);
  return sent;
}

async function post(edits) {
  const response = await fetch(article.dataset.save, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token, Accept: "application/json" },
    body: JSON.stringify({ edits }),
  });
  const { status } = response;
  const isJson = response.headers.get("Content-Type")?.includes("json");
  if (status >= 500 || (!isJson && status < 400)) throw new Error("no answer of this page");
  const unknown = { message: "Perhaps you were signed out, or the transcript was deleted." };
  return { ...unknown, ...(isJson ? await response.json() : {}), status };
}

function chunksOf(todo) {
  const chunks = [];
  let bytes = MAX_BYTES;
  for (const line of todo) {
    const more = new TextEncoder().encode(textOf(line)).length;
    bytes += more;
    if (bytes > MAX_BYTES || chunks.at(-1).length === MAX_LINES) {
      chunks.push([]);
      bytes = more;
    }
    chunks.at(-1).push(line);
  }
  return chunks;
}

function take(line, now, { text }) {
  line.dataset.version = now.version;
  line.dataset.words = now.words;
  stored.set(line, now.text);
  // Whoever types on in this sentence keeps the caret, and what they typed since.
  if (textOf(line) === text && line !== document.activeElement) line.textContent = now.text;
  markUnsure(line);
}

async function sendWaiting() {
  for (const line of waiting) {
    refused.delete(line);
    if (!isChanged(line)) undone.delete(line);
  }
  const chunks = chunksOf([...waiting].filter(isChanged));
  waiting.clear();
  if (!chunks.length) return;
  isSending = true;
  saved.textContent = "Saving …";
  const step = [];
  let problem = "";
  while (chunks.length) {
    const chunk = chunks.shift();
    const texts = new Map(chunk.map((line) => [line, textOf(line)]));
    const edits = chunk.map((line) => ({ segment: Number(line.dataset.line), version: Number(line.dataset.version), text: texts.get(line) }));
    let answer;
    try {
      answer = await post(edits);
    } catch {
      problem = "Not saved yet: no connection, or you were signed out. Your text is still here.";
      for (const line of [chunk, ...chunks].flat()) waiting.add(line);
      later(RETRY_AFTER_MS);
      break;
    }
    const byNumber = new Map((answer.lines ?? []).map((now) => [String(now.segment), now]));
    if (answer.status === 200) {
      for (const line of chunk) {
        const before = stored.get(line);
        take(line, byNumber.get(line.dataset.line), { text: texts.get(line) });
        if (!undone.delete(line) && stored.get(line) !== before) step.push([line, before]);
      }
    } else if (byNumber.size) {
      problem = answer.message;
      for (const line of chunk) if (byNumber.has(line.dataset.line)) askWhose(line, byNumber.get(line.dataset.line));
      const others = chunk.filter((line) => !asked.has(line));
      if (others.length) chunks.unshift(others);
    } else if (answer.status === 400 && chunk.length > 1) {
      // One sentence that the server does not take keeps no other from being saved.
      const half = chunk.length >> 1;
      chunks.unshift(chunk.slice(0, half), chunk.slice(half));
    } else for (const line of chunk) refused.set(line, `Not saved. ${answer.message}`);
  }
  if (step.length) undoable.push(step);
  undoButton.disabled = !undoable.length;
  saved.textContent = problem || [...refused.values()].at(-1) || "Saved";
  isSending = false;
}

addEventListener("beforeunload", (event) => {
  if (waiting.size || isSending || asked.size || refused.size) event.preventDefault();
});

// Somebody else saved the same sentence first: both texts are shown, and the person chooses.
const asked = new Map();
function askWhose(line, theirs) {
  asked.get(line)?.remove();
  waiting.delete(line);
  undone.delete(line);
  const box = document.createElement("div");
  box.className = "note warn whose";
  box.setAttribute("role", "alert");
  const sentence = document.createElement("p");
  sentence.textContent = `Somebody else changed this sentence to: “${theirs.text}”`;
  const choices = document.createElement("div");
  choices.className = "buttons";
  for (const [label, text] of [["Keep mine", null], ["Use theirs", theirs.text]]) {
    const choice = document.createElement("button");
    choice.type = "button";
    choice.className = "button small";
    choice.textContent = label;
    choice.addEventListener("click", () => {
      box.remove();
      asked.delete(line);
      line.dataset.version = theirs.version;
      stored.set(line, theirs.text);
      if (text === null) {
        save([line]);
        return;
      }
      line.textContent = text;
      line.dataset.words = theirs.words;
      markUnsure(line);
      saved.textContent = "";
    });
    choices.append(choice);
  }
  box.append(sentence, choices);
  asked.set(line, box);
  line.closest(".turn").after(box);
}

// --- Editing ---

const isEditing = () => article.classList.contains("is-editing");
function setEditing(is) {
  article.classList.toggle("is-editing", is);
  editbar.hidden = !is;
  editButton.textContent = is ? "Done" : "Edit";
  for (const line of ordered) {
    if (!is) {
      line.removeAttribute("contenteditable");
      continue;
    }
    line.contentEditable = "plaintext-only";
    if (!stored.has(line)) stored.set(line, line.textContent);
  }
  if (is) player.pause();
  else save();
  showFound();
}
editButton.hidden = false;
editButton.addEventListener("click", () => setEditing(!isEditing()));

article.addEventListener("input", (event) => {
  const line = event.target.closest("[data-line]");
  if (!line || asked.has(line)) return;
  undone.delete(line);
  waiting.add(line);
  later();
});
article.addEventListener("focusout", (event) => {
  const line = event.target.closest("[data-line]");
  if (line && isEditing() && !asked.has(line)) save([line]);
});
article.addEventListener("keydown", (event) => {
  const line = event.target.closest("[data-line]");
  if (!line || !line.isContentEditable) return;
  if (event.key === "Enter" && !event.isComposing) {
    event.preventDefault();
    ordered[ordered.indexOf(line) + 1]?.focus();
  } else if (event.key === "Escape") line.blur();
});

// What is last is known only when nothing waits any more: leaving a sentence for this button begins to save it.
async function undo() {
  await save();
  if (waiting.size || asked.size || refused.size) return;
  const last = undoable.pop() ?? [];
  for (const [line, text] of last) {
    line.textContent = text;
    undone.add(line);
  }
  await save(last.map(([line]) => line));
  undoButton.disabled = !undoable.length;
}
let undoing = Promise.resolve();
undoButton.addEventListener("click", () => { undoing = undoing.then(undo); });

// --- Find and replace ---

const find = editbar.querySelector("[data-find]");
const replacement = editbar.querySelector("[data-replacement]");
const found = editbar.querySelector("[data-found]");
const pattern = () => new RegExp(find.value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");

let firstFound = null;

// All matches count, and those near the window are marked (`near` in transcript.js says why).
function showFound() {
  firstFound = null;
  if (!isEditing() || !find.value) {
    if (canMark) CSS.highlights.delete("found");
    found.textContent = "";
    return;
  }
  const ranges = [];
  let count = 0;
  for (const line of ordered) {
    for (const match of line.textContent.matchAll(pattern())) {
      firstFound ??= line;
      count += 1;
      if (!near.has(line.closest(".turn"))) continue;
      const range = rangeOf(line, { first: match.index, end: match.index + match[0].length });
      if (range) ranges.push(range);
    }
  }
  if (canMark) CSS.highlights.set("found", new Highlight(...ranges));
  found.textContent = count === 1 ? "1 match" : `${count} matches`;
}
let findTimer = 0;
function findSoon() {
  clearTimeout(findTimer);
  findTimer = setTimeout(showFound, 150);
}
find.addEventListener("input", findSoon);
article.addEventListener("near", () => { if (isEditing() && find.value) findSoon(); });
find.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  firstFound?.scrollIntoView({ block: "center" });
});

editbar.querySelector("[data-replace]").addEventListener("click", async () => {
  if (!find.value) return;
  const changed = [];
  for (const line of ordered) {
    if (asked.has(line)) continue;
    const text = line.textContent.replace(pattern(), () => replacement.value);
    if (text === line.textContent) continue;
    line.textContent = text;
    undone.delete(line);
    changed.push(line);
  }
  if (changed.length) await save(changed);
  showFound();
});

// --- Who speaks ---

const whoDialog = document.querySelector("[data-who]");
function askWho(turn) {
  const form = whoDialog.querySelector("form");
  const choices = whoDialog.querySelector("[data-who-sentences]");
  choices.replaceChildren();
  for (const line of turn.querySelectorAll("[data-line]")) {
    const label = document.createElement("label");
    label.className = "check";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.value = line.dataset.line;
    label.append(box, ` ${textOf(line)}`);
    choices.append(label);
  }
  form.speaker.value = turn.dataset.speaker;
  form.speaker.dispatchEvent(new Event("change"));
  whoDialog.showModal();
}
if (whoDialog) {
  const form = whoDialog.querySelector("form");
  const fresh = whoDialog.querySelector("[data-who-new]");
  form.speaker.addEventListener("change", () => { fresh.hidden = form.speaker.value !== ""; });
  form.addEventListener("submit", (event) => {
    const chosen = [...form.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value);
    form.segments.value = chosen.join(",");
    if (!chosen.length) event.preventDefault();
  });
  whoDialog.querySelector("[data-who-cancel]").addEventListener("click", () => whoDialog.close());
  for (const turn of article.querySelectorAll(".turn[data-speaker]")) {
    const who = document.createElement("button");
    who.type = "button";
    who.className = "rename";
    who.title = "Change who says this";
    const name = turn.querySelector(".who b");
    if (name) {
      who.append(name.cloneNode(true));
      name.replaceWith(who);
    } else {
      who.textContent = turn.dataset.name;
      who.classList.add("again");
      turn.querySelector(".who").append(who);
    }
    who.addEventListener("click", () => askWho(turn));
  }
}
