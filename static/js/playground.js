/* The playground's answer as it is written. Without this file the form brings the whole answer. */
"use strict";

{
  const form = document.querySelector("form[data-chat]");
  const part = (name) => form.querySelector(`[data-${name}]`);
  const [send, stop, answer, said, cost, fault] = ["send", "stop", "answer", "said", "cost", "error"].map(part);
  let running = null;
  let usage = null;
  let isCut = false;

  // The price follows what is typed, also what was typed before the scripts came or is put back on the way back.
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

  // Whatever the model says is text: it is never read as HTML.
  function take(event) {
    if (event.error) showError(event.error);
    if (event.usage) usage = event.usage;
    if (event.choices?.[0]?.finish_reason === "length") isCut = true;
    const words = event.choices?.[0]?.delta?.content;
    if (words) said.append(words);
    if (event.cost) {
      const tokens = usage ? `: ${grouped(usage.prompt_tokens)} tokens read, ${grouped(usage.completion_tokens)} written` : "";
      cost.textContent = `${said.textContent ? "" : "The model gave no words. "}${isCut ? "It ends here because of the most tokens. " : ""}It cost ${event.cost}${tokens}.`;
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
      // The sign-in page, or a refusal as a page: the form itself shows it.
      else return form.submit();
    } catch (error) {
      if (error.name === "AbortError") cost.textContent = "Stopped. What the model writes before it stops is charged; Usage shows it.";
      else showError({ message: "The connection broke. What the model writes before it stops is charged; Usage shows it." });
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
