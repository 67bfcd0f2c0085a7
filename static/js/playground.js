/* Streams the playground's answer. Without this file, the form loads the whole answer. */
"use strict";

{
  const form = document.querySelector("form[data-chat]");
  const part = (name) => form.querySelector(`[data-${name}]`);
  const [send, stop, answer, said, cost, fault] = ["send", "stop", "answer", "said", "cost", "error"].map(part);
  let running = null;
  let usage = null;
  let isCut = false;

  // The price follows the form, also for text that was typed before this script ran or that the browser restored.
  part("price").hidden = true;
  window.addEventListener("pageshow", () => {
    if (form.elements.message.value) form.dispatchEvent(new Event("input", { bubbles: true }));
  });

  const grouped = (count) => count.toLocaleString("en-US");

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

  // The model's output is plain text and is never parsed as HTML.
  function take(event) {
    if (event.error) showError(event.error);
    if (event.usage) usage = event.usage;
    if (event.choices?.[0]?.finish_reason === "length") isCut = true;
    const words = event.choices?.[0]?.delta?.content;
    if (words) said.append(words);
    if (event.cost) {
      const tokens = usage ? ` for ${grouped(usage.prompt_tokens)} input and ${grouped(usage.completion_tokens)} output tokens` : "";
      cost.textContent = `${said.textContent ? "" : "The model returned no text. "}${isCut ? "It reached the maximum tokens. " : ""}Cost: ${event.cost}${tokens}.`;
    }
  }

  async function read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data: {")) take(JSON.parse(line.slice(6)));
      }
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    usage = null;
    isCut = false;
    said.textContent = "";
    cost.textContent = "Writing …";
    fault.hidden = true;
    answer.hidden = false;
    send.disabled = true;
    stop.hidden = false;
    try {
      const response = await fetch(form.dataset.chat, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        signal: running.signal,
      });
      if (response.headers.get("Content-Type").startsWith("text/event-stream")) await read(response.body);
      else if (response.headers.get("Content-Type") === "application/json") showError((await response.json()).error);
      // The response is a page (sign-in or refusal): submit the form to show it.
      else return form.submit();
    } catch (error) {
      if (error.name === "AbortError") cost.textContent = "Stopped. You pay for what was generated, see Usage.";
      else showError({ message: "Connection lost. You pay for what was generated, see Usage." });
    } finally {
      if (cost.textContent === "Writing …") cost.textContent = "";
      answer.hidden = !said.textContent && !cost.textContent;
      send.disabled = false;
      stop.hidden = true;
      running = null;
    }
  });

  stop.addEventListener("click", () => running?.abort());
}
