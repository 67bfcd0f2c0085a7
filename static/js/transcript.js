/* A transcript in step with its recording. Words are marked by the CSS Custom Highlight API, so that three hours of
   speech need no element for each word. Without this file the text reads, and the browser's own player plays. */
"use strict";

const article = document.querySelector("[data-transcript]");
const player = document.querySelector("audio[data-player]");
const lines = () => article.querySelectorAll("[data-line]");
const SPEEDS = [1, 0.75, 0.5];

// The words of a line: [first, end] in its text, [start, end] in milliseconds, and the percent of an unsure one.
// `data-words` is written by `word_places` in transcription/speech/turns.py.
const parsed = new WeakMap();
function wordsOf(line) {
  const known = parsed.get(line);
  if (known && known.source === line.dataset.words) return known.words;
  const words = [];
  let at = 0;
  let now = Number(line.dataset.start);
  for (const word of line.dataset.words ? line.dataset.words.split(" ") : []) {
    const [skipped, length, pause, spoken, percent] = word.split(",").map(Number);
    const first = at + skipped;
    const start = now + pause;
    words.push({ first, end: first + length, start, stop: start + spoken, percent });
    at = first + length;
    now = start + spoken;
  }
  parsed.set(line, { source: line.dataset.words, words });
  return words;
}

function rangeOf(line, word) {
  const text = line.firstChild;
  if (!text || word.end > text.length) return null;
  return new StaticRange({ startContainer: text, startOffset: word.first, endContainer: text, endOffset: word.end });
}

// --- What is marked: the word that is spoken, and words that the engine is unsure of ---

const canMark = "highlights" in CSS;
const unsure = canMark ? new Highlight() : null;
if (canMark) CSS.highlights.set("unsure", unsure);
const unsureRanges = new Map();
// Paragraphs in the window or near it. Only in these are words marked: at each key that is typed anywhere, the browser
// looks at every marked place of the page again.
const near = new Set();

function unmark(line) {
  for (const range of unsureRanges.get(line) ?? []) unsure.delete(range);
  unsureRanges.delete(line);
}

function markUnsure(line) {
  if (!canMark) return;
  unmark(line);
  if (!near.has(line.closest(".turn"))) return;
  const ranges = wordsOf(line).filter((word) => word.percent !== undefined).map((word) => rangeOf(line, word)).filter(Boolean);
  for (const range of ranges) unsure.add(range);
  if (ranges.length) unsureRanges.set(line, ranges);
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) near.add(target);
    else near.delete(target);
    for (const line of target.querySelectorAll("[data-line]")) markUnsure(line);
  }
  article.dispatchEvent(new Event("near"));
}, { rootMargin: "800px 0px" });
for (const turn of canMark ? article.querySelectorAll(".turn") : []) watcher.observe(turn);

let ordered = [];
const reorder = () => { ordered = [...lines()]; };
reorder();

// The last line that begins at or before this moment.
function lineAt(ms) {
  let low = 0;
  let high = ordered.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Number(ordered[middle].dataset.start) <= ms) low = middle + 1;
    else high = middle;
  }
  return ordered[low - 1] ?? null;
}

let spoken = null;
function markSpoken(ms, { follow }) {
  const line = lineAt(ms);
  const word = line && wordsOf(line).findLast((one) => one.start <= ms);
  if (word === spoken) return;
  spoken = word;
  if (!canMark) return;
  const range = word && rangeOf(line, word);
  CSS.highlights.set("spoken", range ? new Highlight(range) : new Highlight());
  if (follow && line) keepInView(line);
}

// The page follows the words, unless the person has scrolled since.
let scrolledAt = 0;
for (const kind of ["wheel", "touchmove"]) addEventListener(kind, () => { scrolledAt = Date.now(); }, { passive: true });
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");
function keepInView(line) {
  if (Date.now() - scrolledAt < 5000) return;
  const box = line.getBoundingClientRect();
  if (box.top > 60 && box.bottom < innerHeight - 160) return;
  line.scrollIntoView({ block: "center", behavior: isCalm.matches ? "auto" : "smooth" });
}

// --- The player ---

const said = document.querySelector("[data-said]");
const transport = document.querySelector("[data-transport]");
const position = transport.querySelector("[data-position]");
const now = transport.querySelector("[data-now]");
const button = (name) => transport.querySelector(`[data-act=${name}]`);
transport.hidden = false;
player.controls = false;
player.hidden = true;

const clock = (ms) => {
  const seconds = Math.floor(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(String);
  return parts[0] === "0" ? `${parts[1]}:${parts[2].padStart(2, "0")}` : `${parts[0]}:${parts[1].padStart(2, "0")}:${parts[2].padStart(2, "0")}`;
};

function show({ follow }) {
  const ms = player.currentTime * 1000;
  if (document.activeElement !== position || follow) position.value = ms;
  position.setAttribute("aria-valuetext", clock(ms));
  now.textContent = clock(ms);
  markSpoken(ms, { follow });
}

let frame = 0;
function step() {
  show({ follow: true });
  frame = requestAnimationFrame(step);
}
player.addEventListener("play", () => {
  button("play").textContent = "Pause";
  cancelAnimationFrame(frame);
  step();
});
player.addEventListener("pause", () => {
  button("play").textContent = "Play";
  cancelAnimationFrame(frame);
});
player.addEventListener("seeked", () => show({ follow: false }));
player.addEventListener("error", () => { said.textContent = "The recording cannot be played in this browser."; said.classList.remove("unseen"); });

function seek(ms, { play } = {}) {
  player.currentTime = Math.max(0, ms) / 1000;
  if (play) player.play().catch(() => {});
}

const nextUnsure = () => {
  const from = player.currentTime * 1000;
  const all = ordered.flatMap((line) => (line.dataset.words.length ? wordsOf(line).map((word) => ({ line, word })) : []));
  const doubtful = all.filter(({ word }) => word.percent !== undefined);
  const next = doubtful.find(({ word }) => word.start > from + 1) ?? doubtful[0];
  if (!next) {
    said.textContent = "No unsure words.";
    return;
  }
  player.pause();
  seek(next.word.start);
  scrolledAt = 0;
  keepInView(next.line);
  said.textContent = `Unsure word: ${next.line.textContent.slice(next.word.first, next.word.end)}`;
};

const acts = {
  play: () => (player.paused ? player.play().catch(() => {}) : player.pause()),
  back: () => seek(player.currentTime * 1000 - 3000),
  slower: () => {
    player.playbackRate = SPEEDS[(SPEEDS.indexOf(player.playbackRate) + 1) % SPEEDS.length];
    button("slower").textContent = `${player.playbackRate}×`;
  },
  unsure: nextUnsure,
};
for (const name of Object.keys(acts)) button(name).addEventListener("click", acts[name]);
position.addEventListener("input", () => seek(Number(position.value)));

// --- Keys ---

const keysOn = transport.querySelector("[data-keys-on]");
keysOn.checked = localStorage.getItem("transcript-keys") !== "off";
keysOn.addEventListener("change", () => localStorage.setItem("transcript-keys", keysOn.checked ? "on" : "off"));
const KEYS = { " ": "play", ArrowLeft: "back", s: "slower", n: "unsure" };
addEventListener("keydown", (event) => {
  const target = event.target;
  const isTyping = target.isContentEditable || target.matches("input:not([type=range]), textarea, select");
  if (event.key === " " && event.ctrlKey) {
    event.preventDefault();
    acts.play();
    return;
  }
  if (!keysOn.checked || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  // A button or a link does with the space bar what it always does, and the slider with its arrows.
  if (event.key === " " && target.matches("button, summary, a, input")) return;
  if (event.key === "ArrowLeft" && target.matches("input")) return;
  const act = KEYS[event.key.length > 1 ? event.key : event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  acts[act]();
});

// --- A click on a word plays from there ---

function placeAt(event) {
  if (document.caretPositionFromPoint) {
    const place = document.caretPositionFromPoint(event.clientX, event.clientY);
    return place && { node: place.offsetNode, offset: place.offset };
  }
  const range = document.caretRangeFromPoint?.(event.clientX, event.clientY);
  return range && { node: range.startContainer, offset: range.startOffset };
}

article.addEventListener("click", (event) => {
  const time = event.target.closest(".at");
  if (time) {
    event.preventDefault();
    seek(Number(time.id.slice(1)), { play: true });
    return;
  }
  const line = event.target.closest("[data-line]");
  if (!line || line.isContentEditable || !getSelection().isCollapsed) return;
  const place = placeAt(event);
  if (!place || place.node !== line.firstChild) return;
  const words = wordsOf(line);
  const word = words.find((one) => place.offset <= one.end) ?? words.at(-1);
  if (word) seek(word.start, { play: true });
});

// --- Copy ---

function wholeText() {
  const parts = [];
  for (const turn of article.querySelectorAll(".turn")) {
    const text = turn.querySelector("p").textContent;
    const name = turn.dataset.name;
    parts.push(name && turn.classList.contains("is-first") ? `${name}: ${text}` : text);
  }
  return parts.join("\n\n");
}

for (const copy of document.querySelectorAll("[data-copy-transcript]")) {
  const word = copy.textContent;
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(wholeText());
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(article);
      copy.textContent = "Press Ctrl+C";
    }
    said.textContent = copy.textContent;
    setTimeout(() => { copy.textContent = word; }, 2000);
  });
}

// --- Print ---

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
