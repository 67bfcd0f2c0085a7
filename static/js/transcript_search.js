/* What a search found in a transcript: marked in its words, gone through one by one, with the player beside it.
   Comes after transcript.js and uses what is declared there. Without this file the sentences are marked. */
"use strict";

const foundBar = document.querySelector("[data-found-bar]");
if (foundBar?.querySelector("[data-found-next]")) {
  const foundCount = foundBar.querySelector("[data-found-count]");
  const foundPlaces = [];
  for (const line of article.querySelectorAll("[data-found]")) {
    for (const place of line.dataset.found.split(" ")) {
      const [first, end] = place.split(",").map(Number);
      const range = rangeOf(line, { first, end });
      if (range) foundPlaces.push({ line, first, range });
    }
  }
  if (canMark) {
    CSS.highlights.set("sought", new Highlight(...foundPlaces.map((place) => place.range)));
    article.classList.add("marks-words");
  }

  let foundAt = -1;
  function showPlace(number) {
    foundAt = (number + foundPlaces.length) % foundPlaces.length;
    const { line, first, range } = foundPlaces[foundAt];
    if (canMark) {
      const current = new Highlight(range);
      current.priority = 1;
      CSS.highlights.set("sought-now", current);
    }
    const word = wordsOf(line).findLast((one) => one.first <= first);
    if (word) seek(word.start);
    scrolledAt = Date.now();
    line.scrollIntoView({ block: "center" });
    foundCount.textContent = `${foundAt + 1} of ${foundPlaces.length}`;
  }

  foundBar.querySelector("[data-found-first]").hidden = true;
  for (const [name, step] of [["previous", -1], ["next", 1]]) {
    const button = foundBar.querySelector(`[data-found-${name}]`);
    button.hidden = foundPlaces.length < 2;
    button.addEventListener("click", () => showPlace(foundAt + step));
  }
  // The address names a line: that of the first place, or another one that a link was made to.
  const linked = foundPlaces.findIndex(({ line }) => `#${line.id}` === location.hash);
  if (foundPlaces.length) showPlace(Math.max(0, linked));
}
