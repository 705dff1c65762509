// A meeting over time: a bar for each stay of each participant, and under them the license as a band.

import { h } from "./dom.js";
import { clock, inWords, kind } from "./format.js";

const ROWS_MOST = 200;
const TICKS = 5;

/** Return the timeline of a meeting with its legs. */
export function timeline(meeting, legs) {
  const from = Date.parse(meeting.started_at ?? meeting.transitions[0]?.at ?? new Date());
  const until = Math.max(meeting.ended_at ? Date.parse(meeting.ended_at) : Date.now(), from + 1000);
  const scale = { from, until, at: (time) => Math.min(100, Math.max(0, ((time - from) / (until - from)) * 100)) };
  const people = who(legs);
  return h(
    "div",
    { class: "timeline" },
    people.slice(0, ROWS_MOST).map((one) => person(one, scale)),
    people.length > ROWS_MOST ? h("p", { class: "more" }, `and ${people.length - ROWS_MOST} more`) : null,
    people.length ? null : h("p", { class: "empty" }, "Nobody was in yet."),
    band(meeting, scale),
    axis(scale),
  );
}

/** Return the participants, the earliest first, each with the times in which they were in. */
function who(legs) {
  const people = new Map();
  for (const leg of legs.filter((one) => one.counted)) {
    const name = leg.user ?? leg.display_name ?? leg.remote_party ?? leg.id;
    const one = people.get(name) ?? { name, shown: leg.display_name, holds: false, stays: [] };
    one.holds ||= leg.holds_license;
    one.stays.push(...leg.stays);
    people.set(name, one);
  }
  return [...people.values()].filter((one) => one.stays.length).sort((one, other) => begin(one) - begin(other));
}

function begin(one) {
  return Math.min(...one.stays.map((stay) => Date.parse(stay.joined_at)));
}

function person(one, scale) {
  const bars = one.stays.map((stay) => {
    const left = scale.at(Date.parse(stay.joined_at));
    const right = stay.left_at ? scale.at(Date.parse(stay.left_at)) : 100;
    const said = `${clock(stay.joined_at)} to ${stay.left_at ? clock(stay.left_at) : "now"}`;
    return h("span", { class: `stay ${stay.left_at ? "" : "open"}`, title: said, style: place(left, right) }, h("span", { class: "hidden" }, said));
  });
  return h(
    "div",
    { class: `person ${one.holds ? "holds" : ""}` },
    h("span", { class: "who", title: one.name }, one.name, one.holds ? h("span", { class: "holds-note" }, "holds PMP+") : null),
    h("span", { class: "track" }, bars),
  );
}

function band({ transitions, ended_at: ended }, scale) {
  const periods = transitions.map((one, place) => ({
    license: one.to,
    seq: one.seq,
    from: Date.parse(one.at),
    until: place + 1 < transitions.length ? Date.parse(transitions[place + 1].at) : ended ? Date.parse(ended) : scale.until,
  }));
  return h(
    "div",
    { class: "person license-band" },
    h("span", { class: "who" }, "License"),
    h(
      "span",
      { class: "track" },
      periods.map((one) => {
        const said = `${inWords(one.license)} from ${clock(new Date(one.from))}`;
        const part = h("span", { class: `period ${kind(one.license)}`, title: said, style: place(scale.at(one.from), scale.at(one.until)) });
        part.append(h("span", { class: "period-name" }, one.license?.type ?? ""));
        return part;
      }),
      periods.map((one) => h("span", { class: "cut", style: { left: `${scale.at(one.from)}%` }, "aria-hidden": "true" }, String(one.seq))),
    ),
  );
}

function place(left, right) {
  return { left: `${left}%`, width: `${Math.max(0.4, right - left)}%` };
}

function axis({ from, until, at }) {
  const times = Array.from({ length: TICKS }, (_, place) => from + ((until - from) * place) / (TICKS - 1));
  return h(
    "div",
    { class: "person axis", "aria-hidden": "true" },
    h("span", { class: "who" }),
    h("span", { class: "track" }, times.map((time) => h("span", { class: "tick", style: { left: `${at(time)}%` } }, clock(new Date(time)).slice(-8)))),
  );
}
