// Licenses in use now, against what was bought.

import { h, keyed, say } from "./dom.js";
import { counted, sixths } from "./format.js";

const RECENT_MINUTES = 5;

/** Show usage in the element; return what brings it up to date. */
export function gauges(element) {
  const shared = gauge("smp", "Shared", "SMP+");
  const personal = gauge("pmp", "Personal", "PMP+");
  const people = figure("In meetings now");
  const recent = figure(`Switched in the last ${RECENT_MINUTES} minutes`);
  const hint = hints();
  element.append(shared.element, personal.element, people.element, recent.element, hint.element);
  return (state) => {
    const { usage } = state;
    if (!usage) return;
    shared.set(sixths(usage.shared.sixths), usage.shared.sixths / 6, usage.shared.limit, [
      `${counted(usage.shared.meetings, "meeting")} for which no PMP+ pays`,
    ]);
    // One PMP+ may pay for more than one meeting, so what is in use are the holders who pay.
    const paying = usage.personal.holders.length;
    personal.set(String(paying), paying, usage.personal.limit ?? usage.personal.assigned, [
      `${counted(paying, "holder")} paying for ${counted(usage.personal.meetings, "meeting")}`,
      usage.personal.limit === null || usage.personal.assigned === null ? null : `${usage.personal.assigned} assigned`,
    ]);
    people.set(String(usage.participants), `people in ${counted(usage.calls, "call")}`);
    const since = Date.now() - RECENT_MINUTES * 60000;
    const last = state.switches.filter((one) => Date.parse(one.at) >= since);
    const toPersonal = last.filter((one) => one.to.type === "PMP+").length;
    hint.set(usage.hints ?? []);
    const more = state.moreSwitches && last.length === state.switches.length;
    recent.set(`${last.length}${more ? "+" : ""}`, `${more ? "of the last: " : ""}${toPersonal} to PMP+, ${last.length - toPersonal} to SMP+`);
  };
}

function gauge(which, name, license) {
  const value = h("strong", { class: "value", "data-value": which });
  const limit = h("span", { class: "limit" });
  const fill = h("span", { class: "fill" });
  const bar = h("span", { class: "bar", role: "meter", "aria-label": `${name} licenses in use`, "aria-valuemin": 0 }, fill);
  const notes = h("p", { class: "notes" });
  const over = h("span", { class: "over", hidden: true }, "above the limit");
  const element = h(
    "div",
    { class: `gauge ${which}` },
    h("h2", {}, name, h("span", { class: "unit" }, license)),
    h("p", { class: "figure" }, value, limit, over),
    bar,
    notes,
  );
  return {
    element,
    set(text, used, most, said) {
      say(value, text);
      say(limit, most === null ? "no limit is set" : `of ${most}`);
      const share = most ? Math.min(1, used / most) : 0;
      fill.style.setProperty("width", `${share * 100}%`);
      bar.hidden = !most;
      bar.setAttribute("aria-valuenow", used);
      bar.setAttribute("aria-valuemax", most ?? used);
      bar.setAttribute("aria-valuetext", most === null ? text : `${text} of ${most}`);
      element.dataset.level = share >= 1 ? "full" : share >= 0.85 ? "near" : "well";
      over.hidden = !(most !== null && used > most);
      say(notes, said.filter(Boolean).join(" · "));
    },
  };
}

/** What is worth a look; of many only the first, until somebody asks for the rest. */
function hints() {
  const first = h("p", {});
  const count = h("summary", {});
  const list = h("ul", {});
  const rest = h("details", {}, count, list);
  const element = h("div", { class: "hints", role: "note", "aria-label": "Hints" }, first, rest);
  return {
    element,
    set(texts) {
      element.hidden = !texts.length;
      rest.hidden = texts.length < 2;
      say(first, texts[0] ?? "");
      say(count, `and ${texts.length - 1} more`);
      keyed(list, texts.slice(1), (text) => text, (text) => h("li", {}, text), () => {});
    },
  };
}

function figure(name) {
  const value = h("strong", { class: "value" });
  const note = h("p", { class: "notes" });
  return {
    element: h("div", { class: "gauge plain" }, h("h2", {}, name), h("p", { class: "figure" }, value), note),
    set(text, said) {
      say(value, text);
      say(note, said);
    },
  };
}
