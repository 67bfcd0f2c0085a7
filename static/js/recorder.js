/* Records the microphone into the rows of the upload page: with a level, with pauses, and so that a reload loses two
   seconds at most. Comes after kept_files.js and upload.js. */
"use strict";

{
  // How often a piece is kept.
  const PIECE_MS = 2000;
  const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
  const panel = form.querySelector("[data-recorder]");
  const part = (name) => panel.querySelector(`[data-record-${name}]`);
  const said = part("said");
  const key = `${keptKey}recording:`;
  const isSupported = Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);
  let now = null;

  const lockOf = (id) => `${key}${id}`;
  const pieceKey = (id, number) => `${key}${id}:${String(number).padStart(6, "0")}`;
  const name = (at, type) => {
    const time = new Date(at - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
    return `Recording ${time}.${type.includes("mp4") ? "m4a" : type.includes("ogg") ? "ogg" : "webm"}`;
  };

  // isKept: whether the pieces are in the browser's database.
  function addRecording(id, pieces, { isKept }) {
    if (!pieces.length) return;
    const { type } = pieces[0];
    const file = new File(pieces, name(Number(id), type), { type: type.split(";")[0] });
    const pieceKeys = `${key}${id}:`;
    const isThere = async () => (await keptFiles.under(pieceKeys)).length > 0;
    // Without a place to keep it, it is in this tab alone.
    const kept = isKept ? { lock: lockOf(id), isThere } : {};
    add([file], { forget: () => keptFiles.forget(pieceKeys), kept: () => kept });
  }

  function show() {
    const state = now?.recorder.state ?? "inactive";
    part("start").hidden = state !== "inactive";
    for (const each of ["pause", "stop", "discard", "level", "time"]) part(each).hidden = state === "inactive";
    part("pause").textContent = state === "paused" ? "Resume" : "Pause";
    panel.classList.toggle("is-recording", state === "recording");
  }

  // How long was recorded, without the pauses.
  const spokenMs = () => now.spokenMs + (now.recorder.state === "recording" ? performance.now() - now.since : 0);

  function draw() {
    if (!now) return;
    now.analyser.getFloatTimeDomainData(now.samples);
    const loudest = now.recorder.state === "recording" ? Math.max(...now.samples.map(Math.abs)) : 0;
    // In decibels: speech at -20 dB stands in the middle.
    part("level").value = Math.max(0, 1 + Math.log10(loudest || 1e-9) / 2);
    part("time").textContent = length(spokenMs());
    now.frame = requestAnimationFrame(draw);
  }

  async function start() {
    said.textContent = "";
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      said.textContent = error.name === "NotFoundError" ? "No microphone was found." : "The browser does not allow the microphone. Allow it in the browser's settings for this site.";
      return;
    }
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const recorder = new MediaRecorder(stream, { mimeType, audioBitsPerSecond: 64_000 });
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(stream).connect(analyser);
    const id = Date.now();
    const mine = { id, recorder, stream, context, analyser, samples: new Float32Array(analyser.fftSize), pieces: [], isKept: true, kept: null, spokenMs: 0, since: performance.now(), frame: 0 };
    now = mine;
    recorder.addEventListener("dataavailable", ({ data }) => {
      if (!data.size || !mine.isKept) return;
      mine.pieces.push(data);
      mine.kept = keptFiles.put(pieceKey(id, mine.pieces.length), data);
    });
    // Other tabs leave it alone while it grows.
    const ended = new Promise((resolve) => { mine.end = resolve; });
    navigator.locks?.request(lockOf(id), () => ended);
    recorder.addEventListener("stop", async () => {
      cancelAnimationFrame(mine.frame);
      for (const track of stream.getTracks()) track.stop();
      context.close();
      now = null;
      const isStored = (await mine.kept) !== undefined;
      mine.end();
      if (mine.isKept) addRecording(id, mine.pieces, { isKept: isStored });
      else keptFiles.forget(`${key}${id}:`);
      said.textContent = mine.isKept ? "Recording added." : "Recording discarded.";
      show();
      part("start").focus();
    });
    // The microphone was unplugged, or its permission was taken back.
    stream.getAudioTracks()[0].addEventListener("ended", () => { if (recorder.state !== "inactive") recorder.stop(); });
    recorder.start(PIECE_MS);
    said.textContent = "Recording.";
    show();
    part("pause").focus();
    draw();
  }

  part("start").addEventListener("click", start);
  part("pause").addEventListener("click", () => {
    if (now.recorder.state === "paused") {
      now.since = performance.now();
      now.recorder.resume();
    } else {
      now.spokenMs = spokenMs();
      now.recorder.pause();
    }
    said.textContent = now.recorder.state === "paused" ? "Paused." : "Recording.";
    show();
  });
  part("stop").addEventListener("click", () => now.recorder.stop());
  part("discard").addEventListener("click", () => {
    now.isKept = false;
    now.recorder.stop();
  });

  addEventListener("beforeunload", (event) => { if (now) event.preventDefault(); });

  if (isSupported) {
    panel.hidden = false;
    show();
  }
  // What a reload, or a crash, interrupted.
  keptFiles.under(key).then(async (kept) => {
    // A tab that records or sends one holds its lock.
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    const taken = new Set(held.map((lock) => lock.name));
    const byId = new Map();
    for (const [of, piece] of kept) {
      const id = of.slice(key.length).split(":")[0];
      byId.set(id, [...(byId.get(id) ?? []), piece]);
    }
    for (const id of [...byId.keys()].filter((one) => taken.has(lockOf(one)))) byId.delete(id);
    for (const [id, pieces] of byId) addRecording(id, pieces, { isKept: true });
    if (byId.size) said.textContent = "Your recording is still here.";
  });
}
