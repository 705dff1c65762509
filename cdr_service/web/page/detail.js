// One meeting: who was in when, which license it took meanwhile, why, and what the other policy says.

import { all, get } from "./api.js";
import { badge } from "./badge.js";
import { h } from "./dom.js";
import { clock, counted, inWords, reason, weight, words } from "./format.js";
import { timeline } from "./timeline.js";

const LEGS_MOST = 2000;

/** Let the dialog show meetings. `show(id)` opens it; `heard(event)` brings it up to date. */
export function detail(dialog, { deployment, policy, closed }) {
  let id = null;
  let due = null;
  dialog.addEventListener("close", () => {
    id = null;
    closed();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  async function read() {
    due = null;
    const asked = id;
    if (asked === null) return; // it was closed meanwhile
    const within = { deployment: deployment() };
    try {
      const meeting = await get(`v1/meetings/${encodeURIComponent(asked)}`, within);
      const legs = await Promise.all(meeting.calls.map((call) => all(`v1/calls/${encodeURIComponent(call.id)}/legs`, within, LEGS_MOST)));
      if (asked === id) filled(dialog, meeting, legs.flatMap((one) => one.items), policy());
    } catch (problem) {
      if (asked === id && problem.status === 404) missing(dialog, problem.message);
    }
  }

  return {
    async show(wanted) {
      id = wanted;
      if (!dialog.open) {
        dialog.replaceChildren(h("p", { class: "empty" }, "One moment …"));
        dialog.showModal();
      }
      await read();
    },
    heard(event) {
      if (id && event.meeting === id) due ??= setTimeout(read, 500);
    },
    anew() {
      if (id) due ??= setTimeout(read, 500);
    },
    close: () => dialog.close(),
  };
}

function closing(dialog) {
  return h("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
}

function missing(dialog, text) {
  dialog.replaceChildren(h("header", {}, h("h2", { id: "detail-title" }, "Not kept any more"), closing(dialog)), h("p", { class: "empty" }, text));
}

function filled(dialog, meeting, legs, policy) {
  const scrolled = dialog.scrollTop;
  dialog.replaceChildren(
    h(
      "header",
      {},
      h("h2", { id: "detail-title" }, meeting.name ?? "(no name)"),
      meeting.license ? badge(meeting.license) : h("span", { class: "badge none" }, meeting.state === "active" ? "nobody is in" : "ended"),
      closing(dialog),
    ),
    h("p", { class: "facts" }, facts(meeting)),
    ...hints(meeting),
    h("h3", {}, "Who was in, and which license that took"),
    timeline(meeting, legs),
    h("h3", {}, "Each change, with its reason"),
    changes(meeting.transitions),
    h("h3", {}, "Both policies"),
    policies(meeting, policy),
    h("h3", {}, counted(meeting.calls.length, "call")),
    h("ul", { class: "calls" }, meeting.calls.map((call) => h("li", {}, h("code", {}, call.id), call.call_bridge ? ` on ${call.call_bridge}` : ""))),
  );
  dialog.scrollTop = scrolled;
  dialog.querySelector(".close").focus({ preventScroll: true }); // what had it is gone
}

function facts(meeting) {
  return [
    meeting.ended_at ? `${clock(meeting.started_at)} to ${clock(meeting.ended_at)}${meeting.end_estimated ? " (estimated)" : ""}` : `since ${clock(meeting.started_at)}`,
    meeting.ended_at ? `at most ${meeting.participants_peak} in at once` : `${meeting.participants} in now, at most ${meeting.participants_peak}`,
    meeting.owner ? `space of ${meeting.owner}` : null,
    meeting.recording ? "recorded" : null,
    meeting.streaming ? "streamed" : null,
    meeting.complete ? null : "records that could belong to it are lost",
  ].filter(Boolean).join(" · ");
}

/** Return what to look at where a license is not the one that might be expected. */
function hints({ hints: texts = [] }) {
  return texts.length ? [h("ul", { class: "hints", "aria-label": "Hints" }, texts.map((text) => h("li", {}, reason(text))))] : [];
}

function changes(transitions) {
  if (!transitions.length) return h("p", { class: "empty" }, "No license was taken yet.");
  return h(
    "ol",
    { class: "changes" },
    transitions.map((one) =>
      h(
        "li",
        { id: `change-${one.seq}` },
        h("span", { class: "seq", "aria-hidden": "true" }, String(one.seq)),
        h("time", { datetime: one.at }, clock(one.at)),
        h("span", { class: "what" }, badge(one.from), h("span", { class: "arrow" }, "→"), badge(one.to)),
        h("span", { class: "cause" }, words(one.cause), one.late ? ", learned later" : ""),
        h("span", { class: "why" }, reason(one.reason)),
      ),
    ),
  );
}

function policies(meeting, inForce) {
  const last = meeting.transitions.findLast((one) => one.to)?.to ?? null;
  const decides = meeting.license?.policy ?? inForce ?? "the policy in force";
  return h(
    "div",
    { class: "policies" },
    policy(decides, meeting.license ?? last, true, meeting.license ? null : "what it took last"),
    Object.entries(meeting.alternatives).map(([name, license]) => policy(name, license, false, meeting.license ? null : "not told once nobody is in")),
  );
}

function policy(name, license, decides, note) {
  return h(
    "section",
    { class: `policy ${decides ? "decides" : ""}` },
    h("h4", {}, name, h("span", {}, decides ? "decides" : "for comparison")),
    license ? badge(license) : null,
    license?.holder ? h("p", {}, inWords(license)) : null,
    license?.weight ? h("p", { class: "weight" }, license.weight === "0" ? "takes nothing from the pool" : `takes ${weight(license.weight)} from the pool`) : null,
    license?.reason ? h("p", { class: "why" }, reason(license.reason)) : null,
    license?.rule ? h("p", { class: "rule" }, `rule ${license.rule}, ${license.status}`) : null,
    note ? h("p", { class: "rule" }, note) : null,
  );
}
