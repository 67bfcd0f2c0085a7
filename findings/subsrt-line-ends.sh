#!/bin/sh
# An npm reader of subtitles takes a whole SRT for one caption when its lines end as Unix lines do.
#
# Guess: subsrt accepts "\n" and "\r\n" alike: its patterns say `\r?\n`.
# What happens: between two captions it wants white space between the line breaks, which the "\r" of "\r\n" happens to
#   provide. With "\n" the first caption swallows the file: numbers, time lines and text of all others become its
#   text, and it ends when the first one ends. WebVTT with "\n" has no captions at all. Neither raises. The fork
#   subsrt-ts reads both.
# Why it matters: SRT and WebVTT files of a Unix service have "\n". A customer who converts them with subsrt shows
#   one caption of two seconds in a film of two hours, or an empty player, and blames the transcript.
#
# Found with subsrt 1.1.1 and subsrt-ts 2.1.2 (Node 20) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" subsrt@1.1.1 subsrt-ts@2.1.2
cat > look.js <<'END'
const assert = require("node:assert");
const readers = { subsrt: require("subsrt"), "subsrt-ts": require("subsrt-ts").default ?? require("subsrt-ts") };

const SRT = ["1", "00:00:01,000 --> 00:00:02,000", "one", "", "2", "00:00:02,000 --> 00:00:03,000", "two", "",
  "3", "00:00:03,000 --> 00:00:04,000", "three", ""];
const VTT = ["WEBVTT", "", "00:00:01.000 --> 00:00:02.000", "one", "", "00:00:02.000 --> 00:00:03.000", "two", ""];

const found = {};
for (const [name, reader] of Object.entries(readers)) {
  const version = require(`./node_modules/${name}/package.json`).version;
  for (const [form, lines] of Object.entries({ SRT, VTT })) {
    for (const [label, end] of [["LF", "\n"], ["CRLF", "\r\n"]]) {
      const captions = reader.parse(lines.join(end)).filter((one) => one.type === "caption");
      found[`${name} ${form} ${label}`] = captions;
      console.log(`${name} ${version}, ${form} with ${label}: ${captions.length} captions`,
        JSON.stringify(captions.map((one) => one.text)));
    }
  }
}
const counts = Object.fromEntries(Object.entries(found).map(([name, captions]) => [name, captions.length]));
assert.deepStrictEqual(counts, {
  "subsrt SRT LF": 1, "subsrt SRT CRLF": 3, "subsrt VTT LF": 0, "subsrt VTT CRLF": 2,
  "subsrt-ts SRT LF": 3, "subsrt-ts SRT CRLF": 3, "subsrt-ts VTT LF": 2, "subsrt-ts VTT CRLF": 2,
});
const [swallowed] = found["subsrt SRT LF"];
assert.ok(swallowed.text.includes("00:00:03,000 --> 00:00:04,000") && swallowed.end === 2000);
console.log("as found: three captions become one, two become none");
END
node look.js
