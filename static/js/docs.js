/* Docs: a search over the sections of all pages, old links, links to headings, and colors in code. Without this file the
   pages read the same. */
"use strict";

const docs = document.querySelector("[data-docs]");
const rows = docs.querySelectorAll(".docs-row[id]");

/* --- Links to headings ---------------------------------------------------------------------------------------------- */

for (const row of rows) {
  const heading = row.querySelector("h2, h3");
  if (!heading) continue;
  const link = document.createElement("a");
  link.className = "anchor";
  link.href = `#${row.id}`;
  link.textContent = "#";
  link.setAttribute("aria-label", `Link to “${heading.textContent.trim()}”`);
  heading.append(" ", link);
}

/* --- Search --------------------------------------------------------------------------------------------------------- */

const search = document.querySelector("[data-docs-search]");
const field = search.querySelector("input");
const list = search.querySelector("ul");
const said = search.querySelector("[role=status]");
const contents = document.querySelector("[data-docs-contents]");
const MAX_FOUND = 12;
const EXCERPT = 90;
// The sections of all pages, fetched at the first search.
let asked = null;

function readSections() {
  asked ??= fetch(docs.dataset.docsIndex)
    .then((response) => (response.ok ? response.json() : Promise.reject(new Error(response.status))))
    .then((found) => found.map(([path, page, heading, text]) => (
      { path, page, heading, text, lower: `${page} ${text}`.toLowerCase(), title: heading.toLowerCase() }
    )));
  // The next key press tries again.
  asked.catch(() => { asked = null; });
  return asked;
}

// Sections that have all words; those with a word in their heading first.
function find(sections, words) {
  const found = sections.filter((section) => words.every((word) => section.lower.includes(word)));
  const inTitle = (section) => words.filter((word) => section.title.includes(word)).length;
  return found.sort((one, other) => inTitle(other) - inTitle(one)).slice(0, MAX_FOUND);
}

function excerpt(section, word) {
  const at = section.text.toLowerCase().indexOf(word, section.heading.length);
  if (at < 0) return "";
  const from = Math.max(0, section.text.lastIndexOf(" ", Math.max(0, at - EXCERPT / 3)));
  return `${from ? "… " : ""}${section.text.slice(from, from + EXCERPT).trim()} …`;
}

async function show() {
  const typed = field.value;
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  let found = [];
  let trouble = "";
  if (words.length) {
    try {
      found = find(await readSections(), words);
    } catch {
      trouble = "The search cannot be reached. Try again.";
    }
  }
  if (field.value !== typed) return;
  list.replaceChildren(...found.map((section) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    const name = document.createElement("b");
    const text = document.createElement("span");
    link.href = section.path;
    name.textContent = section.heading === section.page ? section.heading : `${section.heading} · ${section.page}`;
    text.textContent = excerpt(section, words[0]);
    link.append(name, text);
    item.append(link);
    return item;
  }));
  list.hidden = !found.length;
  contents.hidden = Boolean(words.length);
  const count = found.length ? `${found.length} section${found.length > 1 ? "s" : ""}` : "Nothing found";
  said.textContent = trouble || (words.length ? count : "");
}

search.hidden = false;
field.addEventListener("input", show);
field.addEventListener("focus", () => readSections().catch(() => {}), { once: true });
search.addEventListener("submit", async (event) => {
  event.preventDefault();
  await show();
  list.querySelector("a")?.click();
});
field.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  field.value = "";
  show();
});
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  field.focus();
});

/* --- Old links -------------------------------------------------------------------------------------------------------- */

// All sections were on one page. A server does not see what is behind the # of an address.
const anchor = decodeURIComponent(location.hash.slice(1));
if (anchor && !document.getElementById(anchor)) {
  readSections().then((sections) => {
    const section = sections.find(({ path }) => path.endsWith(`#${anchor}`));
    if (section) location.replace(section.path);
  }, () => {});
}

/* --- Colors in code ------------------------------------------------------------------------------------------------- */

// Ranges over the text: the page stays as it is, and copying gives the code alone.
const KINDS = [
  ["comment", /(?:^|(?<=\s))(?:#|\/\/)[^\n]*/y],
  ["string", /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`/y],
  ["keyword", /(?<![\w.-])(?:import|from|with|as|for|in|of|if|not|while|return|def|class|raise|try|except|print|const|let|async|await|function|new|throw|true|false|null|None|True|False|curl|export|break|else)(?![\w-])/y],
  ["number", /(?<![\w.-])\d+(?:\.\d+)?(?![\w.])/y],
];

function colorCode() {
  const ranges = Object.fromEntries(KINDS.map(([kind]) => [kind, []]));
  for (const code of docs.querySelectorAll("pre > code")) {
    const node = code.firstChild;
    if (!node || code.childNodes.length !== 1) continue;
    const text = node.data;
    for (let at = 0; at < text.length;) {
      let end = at + 1;
      for (const [kind, pattern] of KINDS) {
        pattern.lastIndex = at;
        const found = pattern.exec(text);
        if (!found) continue;
        end = at + found[0].length;
        ranges[kind].push(new StaticRange({ startContainer: node, startOffset: at, endContainer: node, endOffset: end }));
        break;
      }
      at = end;
    }
  }
  for (const [kind, some] of Object.entries(ranges)) CSS.highlights.set(`code-${kind}`, new Highlight(...some));
}
if ("highlights" in CSS) (window.requestIdleCallback ?? setTimeout)(colorCode);
