/* The sample of the landing page: it plays, and the word that is spoken is marked. Without this file its button opens the
   recording. */
"use strict";

{
  const figure = document.querySelector("[data-sample]");
  const button = figure.querySelector("[data-play]");
  const now = figure.querySelector("[data-now]");
  const canMark = "highlights" in CSS;
  // Of each word in order: when it begins, in milliseconds, and its place in the text.
  const words = [...figure.querySelectorAll("[data-starts]")].flatMap((turn) => {
    const text = turn.querySelector("p").firstChild;
    const starts = turn.dataset.starts.split(" ").map(Number);
    return [...text.data.matchAll(/\S+/g)].map((found, number) => ({ start: starts[number], text, at: found.index, end: found.index + found[0].length }));
  });
  // Made at the first click: nothing is loaded before.
  let player = null;
  let marked = null;

  function mark() {
    const ms = player.currentTime * 1000;
    now.textContent = `0:${String(Math.floor(ms / 1000)).padStart(2, "0")}`;
    const word = player.ended ? null : words.findLast(({ start }) => start <= ms);
    if (word === marked || !canMark) return;
    marked = word;
    const ranges = word ? [new StaticRange({ startContainer: word.text, startOffset: word.at, endContainer: word.text, endOffset: word.end })] : [];
    CSS.highlights.set("spoken", new Highlight(...ranges));
  }

  function step() {
    mark();
    if (!player.paused) requestAnimationFrame(step);
  }

  function made() {
    const audio = new Audio(button.href);
    audio.addEventListener("play", () => { button.textContent = "Pause"; step(); });
    for (const end of ["pause", "ended"]) audio.addEventListener(end, () => { button.textContent = "Play"; mark(); });
    return audio;
  }

  button.setAttribute("role", "button");
  button.addEventListener("click", (event) => {
    event.preventDefault();
    player ??= made();
    if (player.paused) player.play().catch(() => location.assign(button.href));
    else player.pause();
  });
  button.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    button.click();
  });
}
