// What would have been, had other users held PMP+: the recorded meetings decided anew by the service.

import { get } from "./api.js";
import { h } from "./dom.js";
import { saver } from "./download.js";
import { clock, counted, hours, sixths } from "./format.js";

const PATH = "v1/reports/what-if";
const SUGGESTED = 6;

/** The panel of what-if. `asked` returns the deployment and the span. */
export function whatIf(asked) {
  const field = h("input", { id: "assign", type: "text", autocomplete: "off", spellcheck: "false", placeholder: "alice@example.com, bob@example.com" });
  const suggest = h("button", { type: "button", class: "quiet", onclick: suggestions }, "Suggest people");
  const people = h("div", { class: "people", role: "group", "aria-label": "Suggestions", hidden: true });
  const said = h("p", { class: "said", role: "status" });
  const body = h("div", { class: "before-after" });
  const named = () => field.value.trim();
  const save = saver(PATH, () => ({ ...asked(), assign: named() }), "what if", { pages: false, failed: fail });
  let tried = ""; // who was asked for last, which need not be all that is typed by now
  let turn = 0;

  function fail(text) {
    said.textContent = text;
    body.replaceChildren();
  }

  function wait() {
    turn += 1;
    people.hidden = true;
    if (!tried) fail("Name the users who would hold PMP+, and see the shared peak without and with them.");
  }

  async function read() {
    if (!tried) return;
    const own = ++turn;
    said.textContent = "One moment …";
    try {
      const [item] = (await get(PATH, { ...asked(), assign: tried })).items;
      if (own !== turn) return;
      if (item) show(item);
      else fail("Nothing was recorded in that time.");
    } catch (problem) {
      if (own === turn) fail(problem.message);
    }
  }

  function show(item) {
    const most = Math.max(item.before.shared_sixths, item.after.shared_sixths, 1);
    said.textContent = [
      item.meetings_changed
        ? `${item.meetings_changed} of ${counted(item.meetings, "meeting")} would have been charged otherwise.`
        : `None of ${counted(item.meetings, "meeting")} would have been charged otherwise.`,
      item.unknown.length ? `Not in the directory, so found by address alone: ${item.unknown.join(", ")}.` : null,
    ].filter(Boolean).join(" ");
    body.replaceChildren(use("Before", item.before, most), use("With them", item.after, most));
  }

  function attempt() {
    tried = named();
    return read();
  }

  /** Offer those in whose presence most was taken, and who do not hold PMP+ yet. */
  async function suggestions() {
    suggest.disabled = true;
    try {
      const ranked = await get("v1/reports/shared", { ...asked(), by: "user", limit: 100 });
      const found = ranked.items.filter((one) => one.key?.includes("@")).slice(0, SUGGESTED);
      people.replaceChildren(...found.map((one) => h("button", { type: "button", class: "person-choice", onclick: () => add(one.key) }, `+ ${one.key}`)));
      if (!found.length) people.replaceChildren(h("span", {}, "Nobody who is known was in a meeting on SMP+ then."));
      people.hidden = false;
      people.querySelector("button")?.focus();
    } catch (problem) {
      fail(problem.message);
    } finally {
      suggest.disabled = false;
    }
  }

  function add(user) {
    const users = field.value.split(",").map((one) => one.trim()).filter(Boolean);
    if (!users.includes(user)) field.value = [...users, user].join(", ");
    attempt();
  }

  const form = h(
    "form",
    { class: "assign" },
    h("label", { for: "assign" }, "Who would hold PMP+?"),
    h("div", { class: "line" }, field, h("button", { type: "submit", class: "go" }, "Try"), suggest),
    people,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt();
  });
  const element = h(
    "section",
    { class: "panel report", id: "report-what-if", "aria-labelledby": "report-what-if-title" },
    h("header", {}, h("h2", { id: "report-what-if-title" }, "What if others held PMP+?"), save),
    form,
    said,
    body,
  );
  return { element, wait, read };
}

/** Return what was in use at most, before or after. */
function use(title, one, most) {
  return h(
    "div",
    { class: "use-of" },
    h("h3", {}, title),
    h("p", { class: "figure" }, h("strong", { class: "value" }, sixths(one.shared_sixths)), h("span", { class: "limit" }, "SMP+ at most")),
    h("span", { class: "bar smp", "aria-hidden": "true" }, h("span", { class: "fill", style: { width: `${(one.shared_sixths / most) * 100}%` } })),
    h("p", { class: "notes" }, [one.at ? `at ${clock(one.at)}` : null, `${hours(one.shared_license_hours)} of SMP+ in all`, `at most ${counted(one.personal_peak, "meeting")} on PMP+`].filter(Boolean).join(" · ")),
  );
}
