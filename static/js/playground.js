/* A conversation with a model: streams each answer, and keeps the turns in this tab. Without this file, the form loads the
   whole answer, and carries the turns before it. */
"use strict";

{
  const STORE = "voxsite.playground";
  const form = document.querySelector("form[data-chat]");
  const part = (name) => form.querySelector(`[data-${name}]`);
  const [send, stop, fault, conversation] = ["send", "stop", "error", "conversation"].map(part);
  const { message, history } = form.elements;
  // { asked, said, html, cost } of each turn. html: as the site rendered it, "" for text that it did not render.
  let turns = [];
  let running = null;
  let isLeft = false;

  const grouped = (count) => count.toLocaleString("en-US");

  /* --- Turns ------------------------------------------------------------------------------------------------------- */

  function show(turn) {
    const element = part("turn").content.firstElementChild.cloneNode(true);
    element.querySelector("[data-asked]").textContent = turn.asked;
    turn.element = element;
    conversation.append(element);
    update(turn);
    conversation.hidden = part("new").hidden = false;
  }

  // What is not rendered by the site is plain text and is never parsed as HTML.
  function update(turn) {
    const said = turn.element.querySelector("[data-said]");
    if (turn.html) said.innerHTML = turn.html;
    else said.textContent = turn.said;
    said.classList.toggle("as-typed", !turn.html);
    turn.element.querySelector("[data-cost]").textContent = turn.cost;
  }

  // The next message carries the turns before it, without the oldest ones if they are too long.
  function keep() {
    if (isLeft) return;
    const sent = turns.filter((turn) => turn.said).map((turn) => [turn.asked, turn.said]);
    const count = sent.length;
    while (sent.length && JSON.stringify(sent).length > Number(form.dataset.maxHistory)) sent.shift();
    history.value = sent.length ? JSON.stringify(sent) : "";
    part("forgotten").hidden = sent.length === count;
    const kept = turns.map(({ asked, said, html, cost }) => ({ asked, said, html, cost }));
    try {
      sessionStorage.setItem(STORE, JSON.stringify({ owner: form.dataset.owner, turns: kept }));
    } catch {
      // Storage is full or off: the conversation ends with the page.
    }
    form.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function restore() {
    let stored = null;
    try {
      stored = JSON.parse(sessionStorage.getItem(STORE));
    } catch {
      return;
    }
    if (stored?.owner !== form.dataset.owner || !Array.isArray(stored.turns)) return;
    turns = stored.turns;
    turns.forEach(show);
    if (turns.length) keep();
  }

  // A page with turns is the answer to a form that was sent without this script. The form has what the last ones say.
  function adopt(articles) {
    const sent = JSON.parse(history.value || "[]");
    turns = articles.map((element, place) => {
      const [asked, said, cost] = ["asked", "said", "cost"].map((name) => element.querySelector(`[data-${name}]`));
      const text = sent.at(place - articles.length)?.[1] ?? "";
      return { element, asked: asked.textContent, said: text, html: said.innerHTML, cost: cost.textContent };
    });
  }

  async function render(turn) {
    if (!turn.said) return;
    const data = new FormData();
    data.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    data.append("text", turn.said);
    try {
      const response = await fetch(form.dataset.rendered, { method: "POST", body: data });
      if (response.ok && !response.redirected) turn.html = await response.text();
    } catch {
      // It stays plain text.
    }
  }

  /* --- One answer -------------------------------------------------------------------------------------------------- */

  function showError(error) {
    part("message").textContent = error.message;
    part("next-step").hidden = !error.next_step;
    if (error.next_step) {
      const link = part("next-step").querySelector("a");
      link.href = error.next_step.url;
      link.textContent = error.next_step.text;
    }
    fault.hidden = false;
  }

  function take(turn, event) {
    if (event.error) showError(event.error);
    if (event.usage) turn.usage = event.usage;
    if (event.choices?.[0]?.finish_reason === "length") turn.isCut = true;
    const words = event.choices?.[0]?.delta?.content;
    if (words) {
      turn.said += words;
      turn.element.querySelector("[data-said]").append(words);
    }
    if (event.cost) {
      const { usage } = turn;
      const tokens = usage ? ` for ${grouped(usage.prompt_tokens)} input and ${grouped(usage.completion_tokens)} output tokens` : "";
      turn.cost = `${turn.said ? "" : "The model returned no text. "}${turn.isCut ? "It reached the maximum tokens. " : ""}Cost: ${event.cost}${tokens}.`;
    }
  }

  async function read(turn, body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data: {")) take(turn, JSON.parse(line.slice(6)));
      }
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    const body = new URLSearchParams(new FormData(form));
    const turn = { asked: message.value, said: "", html: "", cost: "Writing …" };
    show(turn);
    turn.element.querySelector("[data-said]").classList.add("as-typed");
    message.value = "";
    fault.hidden = true;
    send.disabled = true;
    stop.hidden = false;
    turn.element.scrollIntoView({ block: "nearest" });
    try {
      const response = await fetch(form.dataset.chat, { method: "POST", body, signal: running.signal });
      if (response.headers.get("Content-Type").startsWith("text/event-stream")) await read(turn, response.body);
      else if (response.headers.get("Content-Type") === "application/json") showError((await response.json()).error);
      else {
        // The response is a page (sign-in or refusal): submit the form to show it.
        message.value = turn.asked;
        return form.submit();
      }
    } catch (error) {
      if (error.name === "AbortError") turn.cost = "Stopped. You pay for what was generated, see Usage.";
      else showError({ message: "Connection lost. You pay for what was generated, see Usage." });
    } finally {
      stop.hidden = true;
    }
    if (turn.cost === "Writing …") turn.cost = "";
    if (turn.said || turn.cost) {
      turns.push(turn);
      update(turn);
    } else {
      // Nothing came of it: the message is there to be sent again.
      turn.element.remove();
      conversation.hidden = part("new").hidden = !turns.length;
      message.value ||= turn.asked;
    }
    keep();
    running = null;
    send.disabled = false;
    if (!turns.includes(turn)) return;
    await render(turn);
    update(turn);
    keep();
  });

  stop.addEventListener("click", () => running?.abort());

  /* --- The form ---------------------------------------------------------------------------------------------------- */

  // Not on a telephone, whose keyboard has no other way to a new line.
  if (matchMedia("(pointer: fine)").matches) {
    part("hint").hidden = false;
    message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.altKey || event.isComposing) return;
      event.preventDefault();
      if (!running && message.value.trim()) form.requestSubmit(send);
    });
  }

  part("new").addEventListener("click", (event) => {
    // In another tab or window: this one stays.
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    isLeft = true;
    running?.abort();
    sessionStorage.removeItem(STORE);
  });

  // The price follows the form, also for text that was typed before this script ran or that the browser restored.
  part("price").hidden = true;
  const shown = [...conversation.querySelectorAll("article")];
  if (shown.length) adopt(shown);
  else restore();
  window.addEventListener("pageshow", () => {
    isLeft = false;
    if (message.value) form.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
