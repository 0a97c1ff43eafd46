/* ELAN's .eaf of a recording: one tier per curve, one annotation per run of equal values.

Conventions: ELAN's clock is that of the medium, in whole milliseconds, so store times move by
`media_offset`; what lies before the medium's first moment is left out, and of several frames in one
millisecond the first counts. The format is EAF 3.0
(https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf). */

const MIME_TYPES = {
  mp4: "video/mp4", m4v: "video/mp4", webm: "video/webm", mov: "video/quicktime",
  avi: "video/x-msvideo", mkv: "video/x-matroska", ogv: "video/ogg",
  wav: "audio/x-wav", mp3: "audio/mpeg", m4a: "audio/mp4",
  ogg: "audio/ogg", oga: "audio/ogg", opus: "audio/ogg", flac: "audio/flac", aac: "audio/aac",
};
const ELAN_TYPE = "default-lt";
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g;

/** Text as XML can hold it; control signs, which XML has no way to write, become "?". */
function xmlText(text) {
  const signs = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  const printable = String(text).replace(NOT_XML, "?").toWellFormed();
  return printable.replace(/[&<>"]/g, (sign) => signs[sign]);
}

/** Start of each frame in whole ms of the medium's clock, and the end of the last one. */
function millisecondsOf(recording) {
  const offset = recording.entry.media_offset ?? 0;
  const starts = Array.from(recording.times, (time) => Math.round(1000 * (time + offset)));
  starts.push(Math.round(1000 * (recording.endOf(recording.frames - 1) + offset)));
  return starts;
}

/** Runs {start, end, text} of equal values; frames without a value are in none. */
function runsOf(values, type, starts) {
  const runs = [];
  let open = null;
  for (let frame = 0; frame < values.length; frame++) {
    const start = Math.max(0, starts[frame]);
    const end = starts[frame + 1];
    if (end <= start) continue;
    const text = exactText(values[frame], type);
    if (open !== null && open.text === text && open.end === start) {
      open.end = end;
      continue;
    }
    open = text === "" ? null : { start, end, text };
    if (open !== null) runs.push(open);
  }
  return runs;
}

/** The .eaf's text. `columns`: [{name, values, type}], as the CSV has them. */
function elanText(recording, columns) {
  const starts = millisecondsOf(recording);
  const tiers = [];
  const slots = []; // {time, run, key}, the runs' starts and ends
  for (const { name, values, type } of columns) {
    const runs = runsOf(values, type, starts);
    tiers.push({ name, runs });
    for (const run of runs) {
      slots.push({ time: run.start, run, key: "first" }, { time: run.end, run, key: "last" });
    }
  }
  // ELAN keeps its slots in the order of time.
  slots.sort((left, right) => left.time - right.time);
  slots.forEach(({ run, key }, position) => { run[key] = `ts${position + 1}`; });
  const times = slots.map(({ time }, position) => {
    return `<TIME_SLOT TIME_SLOT_ID="ts${position + 1}" TIME_VALUE="${time}"/>`;
  });
  const lines = [];
  let annotations = 0;
  for (const { name, runs } of tiers) {
    lines.push(`<TIER LINGUISTIC_TYPE_REF="${ELAN_TYPE}" TIER_ID="${xmlText(name)}">`);
    for (const run of runs) {
      annotations += 1;
      lines.push(annotationLine(`a${annotations}`, run));
    }
    lines.push("</TIER>");
  }
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<ANNOTATION_DOCUMENT AUTHOR="va-search" DATE="${new Date().toISOString()}"` +
      ' FORMAT="3.0" VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"' +
      ' xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">',
    '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">',
    mediaDescriptor(recording.entry.media),
    `<PROPERTY NAME="lastUsedAnnotationId">${annotations}</PROPERTY>`,
    "</HEADER>",
    "<TIME_ORDER>",
    ...times,
    "</TIME_ORDER>",
    ...lines,
    `<LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="${ELAN_TYPE}"` +
      ' TIME_ALIGNABLE="true"/>',
    "</ANNOTATION_DOCUMENT>",
    "",
  ].filter((line) => line !== null).join("\n");
}

function annotationLine(id, { first, last, text }) {
  const slots = `TIME_SLOT_REF1="${first}" TIME_SLOT_REF2="${last}"`;
  const value = `<ANNOTATION_VALUE>${xmlText(text)}</ANNOTATION_VALUE>`;
  const start = `<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="${id}" ${slots}>`;
  return `${start}${value}</ALIGNABLE_ANNOTATION></ANNOTATION>`;
}

/** The link to the medium, absolute, as the .eaf may be put anywhere. */
function mediaDescriptor(media) {
  if (!media) return null;
  const address = new URL(media, document.baseURI);
  const ending = address.pathname.split(".").pop().toLowerCase();
  const type = MIME_TYPES[ending] ?? "unknown";
  return `<MEDIA_DESCRIPTOR MEDIA_URL="${xmlText(address.href)}" MIME_TYPE="${type}"/>`;
}
