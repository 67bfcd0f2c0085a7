/* Sends the chosen files and shows progress and result of each. Without this file, the form sends all.

   One file goes through the form, which answers with its length and price. Several files, or a large one, become a batch:
   the site is told their names and sizes, each goes to an address of its own, in parts if it is large, and a broken
   connection goes on with the parts that are missing. Links are rows as well: the site downloads what they lead to. */
"use strict";

const PARALLEL_UPLOADS = 2;
// From here on a file is worth being sent in parts.
const MAX_FORM_BYTES = 100e6;
// Seconds before a broken connection is tried again.
const PAUSES = [1, 3, 9];

const form = document.querySelector("[data-upload]");
const input = form.querySelector("input[type=file]");
const drop = form.querySelector("[data-drop]");
const list = form.querySelector("[data-files]");
const submit = form.querySelector("[data-submit]");
const done = form.querySelector("[data-done]");
const template = form.querySelector("template");
const linkField = form.querySelector("[data-from-link] input");
const addButton = form.querySelector("[data-add-link]");
const KEPT_FIELDS = "input:not([type=file], [type=hidden]), select, textarea";
let rows = [];
// Under which the browser keeps the files of this person.
const keptKey = `${form.dataset.keep}:`;
// The batch that was begun, with the addresses that the site has given it.
let batch = null;
let finishing = false;
// Whether the browser keeps what was chosen.
let isKept = false;

form.querySelector("[data-hint]").hidden = false;
form.querySelector("[data-limit]").textContent = "10 GB";
input.classList.add("unseen");
addButton.hidden = false;
drop.classList.add("is-live");
refresh();
restore();

addButton.addEventListener("click", addLink);
linkField.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  addLink();
});
linkField.addEventListener("input", refresh);
// The rows keep the files. The field is emptied, so that the same file can be chosen again.
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
  fault();
  addLink();
  submit.disabled = true;
  // The site was told which files belong to the batch. Others wait until it has ended.
  if (batch) {
    if (unsent().length) await finish();
    return refresh();
  }
  await Promise.all(rows.filter((row) => row.state === "waiting").map(take));
  const waiting = rows.filter((row) => row.state === "waiting");
  if (waiting.length === 1 && (waiting[0].link || waiting[0].file.size <= MAX_FORM_BYTES)) await sendAlone(waiting[0]);
  else if (waiting.length) await sendTogether(waiting);
  // One of a batch that failed or was paused is still this tab's.
  for (const row of waiting) if (["waiting", "sent"].includes(row.state)) giveBack(row);
  refresh();
});
addEventListener("beforeunload", (event) => {
  if (!finishing && rows.some((row) => row.state === "sending" || row.state === "paused")) event.preventDefault();
});

// kept: of files that the browser keeps, `lock` and `isThere` as `take` wants them. forget: of a recording of the
// microphone, what deletes it where it is kept.
function add(files, { forget, kept = () => ({}) } = {}) {
  for (const file of files) {
    const parts = { file, forget: forget ?? (() => {}), isRecording: Boolean(forget), ...kept(file) };
    const row = addRow(parts, file.name, size(file.size));
    if (file.size === 0) say(row, "The file is empty.", "refused");
    else if (batch) say(row, "Waits until the other files are sent", "waiting");
  }
  refresh();
}

// What stands in the field of links becomes a row, unless the browser says what is wrong with it.
function addLink() {
  const link = linkField.value.trim();
  if (!link || !linkField.reportValidity()) return;
  addRow({ link }, link, "Link");
  linkField.value = "";
  refresh();
}

function addRow(parts, name, detail) {
  const element = template.content.firstElementChild.cloneNode(true);
  const row = { element, state: "waiting", url: "", address: "", etags: new Map(), forget: () => {}, ...parts };
  element.querySelector("[data-name]").textContent = name;
  element.querySelector("[data-name]").title = name;
  element.querySelector("[data-size]").textContent = detail;
  element.querySelector("[data-remove]").addEventListener("click", () => {
    rows = rows.filter((other) => other !== row);
    element.remove();
    row.forget();
    keepRest();
    if (batch && row.address) finishIfAllAreSent();
    refresh();
  });
  for (const name of ["retry", "resume"]) {
    element.querySelector(`[data-${name}]`).addEventListener("click", async () => {
      row.isPaused = false;
      await sendFile(row);
      finishIfAllAreSent();
      refresh();
    });
  }
  element.querySelector("[data-pause]").addEventListener("click", () => {
    row.isPaused = true;
    row.request?.abort();
  });
  list.append(element);
  rows.push(row);
  return row;
}

/* --- Two tabs -------------------------------------------------------------------------------------------------------- */

// What the browser keeps stands in every tab of the page, and is charged for once: whoever sends it holds its lock, and
// what is no longer kept was sent. Then the row says so and is no longer waiting.
async function take(row) {
  if (!row.lock || row.release || !navigator.locks) return;
  await new Promise((resolve) => {
    navigator.locks.request(row.lock, { ifAvailable: true }, async (lock) => {
      if (!lock || !(await row.isThere())) {
        say(row, lock ? "This was sent or removed in another tab." : "Another tab is sending this.", "refused");
        return resolve();
      }
      const released = new Promise((release) => { row.release = release; });
      resolve();
      await released;
    });
  });
}

async function giveBack(row) {
  // Not before it is forgotten: another tab could take it in between.
  await row.forgotten;
  row.release?.();
  row.release = null;
}

/* --- Files that are kept while their owner pays ---------------------------------------------------------------------- */

// The refusal names a page on which the person pays, and from which they come back here.
function keep() {
  const fields = [...form.querySelectorAll(KEPT_FIELDS)].filter((field) => field.name);
  const values = fields.map((field) => [field.name, field.value, field.checked ?? false]);
  // A recording of the microphone is kept by itself.
  const chosen = rows.filter((row) => row.state === "waiting" && !row.isRecording);
  const files = chosen.filter((row) => row.file).map((row) => row.file);
  const links = chosen.filter((row) => row.link).map((row) => row.link);
  isKept = true;
  return keptFiles.put(`${keptKey}chosen`, { files, links, values });
}

// A file that was removed or sent must not come back and be charged for.
function keepRest() {
  if (!isKept) return;
  if (rows.some((row) => row.state === "waiting")) return keep();
  isKept = false;
  return keptFiles.forget(`${keptKey}chosen`);
}

async function restore() {
  await keptFiles.sweep(`${form.dataset.keep.split(":")[0]}:`);
  const [[, kept] = []] = await keptFiles.under(`${keptKey}chosen`);
  if (!kept) return;
  isKept = true;
  for (const [name, value, isChecked] of kept.values) {
    for (const field of form.querySelectorAll(`[name="${CSS.escape(name)}"]`)) {
      if (field.type === "radio") field.checked = field.value === value ? isChecked : field.checked;
      else if (field.type === "checkbox") field.checked = isChecked;
      else field.value = value;
    }
  }
  const links = kept.links ?? [];
  const ofFile = (file) => ({
    lock: `${keptKey}chosen:${file.name}:${file.size}`,
    isThere: async () => {
      const [[, now] = []] = await keptFiles.under(`${keptKey}chosen`);
      return Boolean(now?.files.some((other) => other.name === file.name && other.size === file.size));
    },
  });
  add(kept.files, { kept: ofFile });
  for (const link of links) addRow({ link }, link, "Link");
  refresh();
  if (kept.files.length || links.length) {
    form.querySelector("[data-restored]").hidden = false;
  }
}

// Files of the batch that it would go on without. One that is paused is lost like one that failed.
function unsent() {
  return rows.filter((row) => row.address && ["failed", "paused"].includes(row.state));
}

function refresh() {
  const waiting = rows.filter((row) => row.state === "waiting").length + Number(linkField.value.trim() !== "");
  const missing = unsent().length;
  const busy = rows.some((row) => row.state === "sending");
  list.hidden = rows.length === 0;
  submit.textContent = waiting > 1 ? `Transcribe ${waiting} files` : "Transcribe";
  if (batch && missing) submit.textContent = `Continue without ${missing} ${missing > 1 ? "files" : "file"}`;
  submit.disabled = busy || (batch ? !missing : !waiting);
}

function say(row, text, state) {
  row.element.querySelector("[data-says]").textContent = text;
  if (text) announce(`${row.element.querySelector("[data-name]").textContent}: ${text}`, row);
  row.element.className = `file ${state === "refused" ? "failed" : state}`;
  row.element.querySelector("progress").hidden = state !== "sending";
  row.element.querySelector("[data-retry]").hidden = !(state === "failed" && row.address);
  row.element.querySelector("[data-pause]").hidden = !(state === "sending" && row.address);
  row.element.querySelector("[data-resume]").hidden = state !== "paused";
  row.element.querySelector("[data-remove]").hidden = state === "sending" || state === "sent";
  row.state = state;
  if (state !== "sent") return;
  row.forgotten = Promise.all([row.forget(), keepRest()]);
}

// What stops all files: the options, the balance, a limit.
function fault(answer) {
  const note = form.querySelector("[data-fault]");
  note.hidden = !answer;
  if (!answer) return;
  note.querySelector("[data-fault-text]").textContent = answer.message;
  const step = note.querySelector("[data-fault-step]");
  step.hidden = !answer.next_step;
  if (answer.next_step) {
    step.href = answer.next_step.url;
    step.textContent = answer.next_step.text;
    keep();
  }
}

/* --- A batch -------------------------------------------------------------------------------------------------------- */

async function sendTogether(chosen) {
  const data = new FormData(form);
  data.delete("files");
  data.delete("link");
  data.append("manifest", JSON.stringify(chosen.map((row) => row.link ?? [row.file.name, row.file.size])));
  const answer = await post(form.dataset.batch, data).catch((error) => ({ message: error.message }));
  if (!answer.files) return fault(answer);
  batch = answer;
  chosen.forEach((row, position) => {
    row.batch = batch;
    if (row.link) say(row, "We are downloading it", "sent");
    else row.address = answer.files[position];
  });
  const left = chosen.filter((row) => row.file);
  await Promise.all(Array.from({ length: PARALLEL_UPLOADS }, async () => {
    for (let row = left.shift(); row; row = left.shift()) await sendFile(row);
  }));
  finishIfAllAreSent();
}

function finishIfAllAreSent() {
  const own = rows.filter((row) => row.address);
  if (!batch || finishing || !own.every((row) => row.state === "sent")) return;
  if (own.length) finish();
  else leave();
}

// Opens the page of the batch. While other files wait, this page stays, and each row of the batch leads there.
function leave() {
  if (!rows.some((row) => row.state === "waiting")) return location.assign(batch.url);
  for (const row of rows.filter((one) => one.batch === batch)) {
    if (row.state !== "sent") {
      row.address = "";
      say(row, "Left out", "refused");
      continue;
    }
    const link = row.element.querySelector("[data-link]");
    link.href = batch.url;
    link.hidden = false;
    row.address = "";
  }
  for (const row of rows) if (row.state === "waiting") say(row, "", "waiting");
  batch = null;
  finishing = false;
  done.hidden = false;
  refresh();
}

async function finish() {
  finishing = true;
  try {
    await post(batch.complete_url, new FormData(form));
    leave();
  } catch (error) {
    finishing = false;
    fault({ message: error.message });
  }
}

// Ends with the row sent, failed or paused.
async function sendFile(row) {
  const bar = row.element.querySelector("progress");
  for (const pause of [...PAUSES, 0]) {
    say(row, "Uploading", "sending");
    try {
      const place = await post(row.address, new FormData(form));
      if (place.message) return say(row, place.message, "failed");
      if (!place.has_come) {
        await (place.target.type === "put" ? sendWhole(row, place.target, bar) : sendParts(row, place.target, bar));
      }
      const data = new FormData(form);
      data.append("sent", "1");
      const answer = await post(row.address, data);
      if (answer.message) return say(row, answer.message, "failed");
      return say(row, "Uploaded", "sent");
    } catch (error) {
      if (row.isPaused) return say(row, "Paused", "paused");
      if (error.isFinal || !pause) return say(row, error.message, "failed");
      say(row, "Connection lost. Trying again…", "sending");
      await new Promise((resolve) => { setTimeout(resolve, pause * 1000); });
    }
  }
}

function sendWhole(row, target, bar) {
  return put(row, target.url, row.file, target.headers, (loaded) => { bar.value = percent(loaded, row.file.size); });
}

async function sendParts(row, target, bar) {
  if (row.upload !== target.upload_id) row.etags.clear();
  row.upload = target.upload_id;
  for (const [number, url] of target.parts) {
    if (row.etags.has(number)) continue;
    const first = (number - 1) * target.part_bytes;
    const part = row.file.slice(first, first + target.part_bytes);
    const answer = await put(row, url, part, {}, (loaded) => { bar.value = percent(first + loaded, row.file.size); });
    row.etags.set(number, answer.getResponseHeader("ETag"));
  }
  const parts = [...row.etags].sort(([one], [other]) => one - other);
  const body = parts.map(([number, etag]) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`);
  const xml = `<CompleteMultipartUpload>${body.join("")}</CompleteMultipartUpload>`;
  await call(row, "POST", target.complete_url, xml, { "Content-Type": "application/xml" });
}

function put(row, url, body, headers, onProgress) {
  // A slice of a file has its type, which is not what was signed.
  return call(row, "PUT", url, new Blob([body], { type: "" }), headers, onProgress);
}

// A request that rejects with an error that says whether a repeat can help.
function call(row, method, url, body, headers, onProgress = () => {}) {
  return new Promise((resolve, reject) => {
    // The person may have paused before this request was made.
    if (row.isPaused) return reject(new Error("Paused"));
    const request = new XMLHttpRequest();
    row.request = request;
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("loadend", () => {
      if (request.status >= 200 && request.status < 300) return resolve(request);
      const error = new Error(reason(request.status));
      // An address that has expired is asked for again.
      error.isFinal = request.status >= 400 && request.status < 500 && ![403, 404, 408, 409].includes(request.status);
      reject(error);
    });
    request.send(body);
  });
}

// A form of this site that is answered in JSON. What goes wrong has a `message`, and throws if no answer came.
async function post(url, data) {
  data.delete("files");
  let response;
  try {
    response = await fetch(url, { method: "POST", body: data, headers: { Accept: "application/json" } });
  } catch {
    throw new Error(reason(0));
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok && !answer.message) answer.message = reason(response.status);
  return answer;
}

function percent(part, whole) {
  return Math.floor((100 * part) / Math.max(1, whole));
}

/* --- One file ------------------------------------------------------------------------------------------------------- */

async function sendAlone(row) {
  await send(row);
  done.hidden = !rows.some((one) => one.state === "sent");
  if (rows.length === 1 && row.state === "sent") location.assign(row.url);
}

function send(row) {
  const bar = row.element.querySelector("progress");
  const data = new FormData(form);
  data.delete("files");
  data.delete("link");
  if (row.link) data.append("link", row.link);
  else data.append("files", row.file);
  say(row, row.link ? "Checking link" : "Uploading", "sending");
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable || row.link) return;
      bar.value = Math.floor((100 * event.loaded) / event.total);
      if (event.loaded === event.total) say(row, "Checking file", "sending");
    });
    request.addEventListener("loadend", () => {
      const answer = request.response;
      if (request.status === 201 && answer) {
        row.url = answer.url;
        const link = row.element.querySelector("[data-link]");
        link.href = answer.url;
        link.hidden = false;
        row.element.querySelector("[data-name]").textContent = answer.name;
        say(row, answer.price ? `Queued. ${length(answer.length_ms)}, ${answer.price} reserved` : "We are downloading it", "sent");
      } else {
        say(row, answer?.message ?? reason(request.status), "failed");
        if (answer?.may_retry || request.status === 0) row.state = "waiting";
        if (answer?.next_step) {
          const link = row.element.querySelector("[data-next-step]");
          link.href = answer.next_step.url;
          link.textContent = answer.next_step.text;
          link.hidden = false;
          keep();
        }
      }
      resolve();
    });
    request.send(data);
  });
}

function reason(status) {
  if (status === 0) return "Connection lost. Nothing was charged. Try again.";
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
