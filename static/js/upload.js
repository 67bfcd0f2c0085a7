/* Uploads the chosen files one by one and shows progress and result of each. Without this file, the form sends all. */
"use strict";

const PARALLEL_UPLOADS = 2;

const form = document.querySelector("[data-upload]");
const input = form.querySelector("input[type=file]");
const drop = form.querySelector("[data-drop]");
const list = form.querySelector("[data-files]");
const submit = form.querySelector("[data-submit]");
const done = form.querySelector("[data-done]");
const template = form.querySelector("template");
let rows = [];

form.querySelector("[data-hint]").hidden = false;
input.classList.add("unseen");
// The rows keep the files. The field is emptied, so that the same file can be chosen again.
input.required = false;
drop.classList.add("is-live");
refresh();

input.addEventListener("change", () => {
  add(input.files);
  input.value = "";
});
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("is-over");
  });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, () => drop.classList.remove("is-over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  add(event.dataTransfer.files);
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const waiting = rows.filter((row) => row.state === "waiting");
  submit.disabled = true;
  await Promise.all(Array.from({ length: PARALLEL_UPLOADS }, async () => {
    for (let row = waiting.shift(); row; row = waiting.shift()) await send(row);
  }));
  submit.disabled = false;
  const sent = rows.filter((row) => row.state === "sent");
  done.hidden = sent.length === 0;
  if (rows.length === 1 && sent.length === 1) location.assign(sent[0].url);
  refresh();
});
addEventListener("beforeunload", (event) => {
  if (rows.some((row) => row.state === "sending")) event.preventDefault();
});

function add(files) {
  for (const file of files) {
    const element = template.content.firstElementChild.cloneNode(true);
    const row = { file, element, state: "waiting", url: "" };
    element.querySelector("[data-name]").textContent = file.name;
    element.querySelector("[data-size]").textContent = size(file.size);
    element.querySelector("[data-remove]").addEventListener("click", () => {
      rows = rows.filter((other) => other !== row);
      element.remove();
      refresh();
    });
    list.append(element);
    rows.push(row);
  }
  refresh();
}

function refresh() {
  const count = rows.filter((row) => row.state === "waiting").length;
  list.hidden = rows.length === 0;
  submit.textContent = count > 1 ? `Transcribe ${count} files` : "Transcribe";
  submit.disabled = count === 0;
}

function send(row) {
  const say = (text, state) => {
    row.element.querySelector("[data-says]").textContent = text;
    row.element.className = `file ${state}`;
    row.state = state;
  };
  const bar = row.element.querySelector("progress");
  const data = new FormData(form);
  data.delete("files");
  data.append("files", row.file);
  row.element.querySelector("[data-remove]").hidden = true;
  bar.hidden = false;
  say("Uploading", "sending");
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      bar.value = Math.floor((100 * event.loaded) / event.total);
      if (event.loaded === event.total) say("Checking file", "sending");
    });
    request.addEventListener("loadend", () => {
      bar.hidden = true;
      const answer = request.response;
      if (request.status === 201 && answer) {
        row.url = answer.url;
        const link = row.element.querySelector("[data-link]");
        link.href = answer.url;
        link.hidden = false;
        row.element.querySelector("[data-name]").textContent = answer.name;
        say(`Queued. ${length(answer.length_ms)}, ${answer.price} reserved`, "sent");
      } else {
        say(answer?.message ?? reason(request.status), "failed");
        if (answer?.may_retry) {
          row.state = "waiting";
          row.element.querySelector("[data-remove]").hidden = false;
        }
        if (answer?.next_step) {
          const link = row.element.querySelector("[data-next-step]");
          link.href = answer.next_step.url;
          link.textContent = answer.next_step.text;
          link.hidden = false;
        }
      }
      resolve();
    });
    request.send(data);
  });
}

function reason(status) {
  if (status === 0) return "Connection lost. Nothing was charged. Choose the file again.";
  if (status === 413) return "The file is too large. Nothing was charged.";
  return "Something went wrong. Nothing was charged. Reload the page and try again.";
}

function size(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes.toFixed(bytes < 10 && unit > 0 ? 1 : 0)} ${units[unit]}`;
}

function length(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
