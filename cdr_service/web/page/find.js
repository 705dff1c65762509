// Finding a meeting by a person, a number, a space or a name: at once among those that are shown, and a moment later by
// the service among all that it keeps.

import { get } from "./api.js";
import { $, h, keyed, say } from "./dom.js";
import { ago, clock } from "./format.js";

const PATIENCE_MILLISECONDS = 250;
const MOST = 100;

/**
 * Make the field find. `found` hears what the live table is to show; `open` opens a meeting that ended. What is returned
 * looks for a text as if it were typed.
 */
export function finder(field, { deployment, found, open }) {
  const list = h("ul", {});
  const title = h("h2", {}, "Ended meetings");
  $("ended").append(title, list);
  let timer = 0;
  let asking = new AbortController();

  async function ask(text) {
    asking.abort();
    asking = new AbortController();
    try {
      const parameters = { find: text, state: "all", deployment: deployment(), limit: MOST };
      const { items, next } = await get("v1/calls", parameters, { signal: asking.signal });
      const live = new Set(items.filter((one) => one.state === "active").map((one) => one.meeting));
      found({ text, ids: live });
      ended(items.filter((one) => one.state === "ended" && !live.has(one.meeting)), next);
    } catch {
      // Another search took its place, or the service is away, which the stream says.
    }
  }

  function ended(calls, next) {
    const meetings = [...new Map(calls.map((one) => [one.meeting, one])).values()];
    say(title, meetings.length ? `Ended meetings${next ? ", the latest" : ""}` : "No meeting that ended is found so.");
    keyed(list, meetings, (one) => one.meeting, (one) => entry(one, open), () => {});
    $("ended").hidden = false;
  }

  field.addEventListener("input", () => {
    const text = field.value.trim().toLowerCase();
    clearTimeout(timer);
    found({ text, ids: new Set() });
    if (text) timer = setTimeout(() => ask(text), PATIENCE_MILLISECONDS);
    else {
      asking.abort();
      $("ended").hidden = true;
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field.focus();
  });
  return (text) => {
    field.value = text;
    field.dispatchEvent(new Event("input"));
    field.focus();
  };
}

function entry(one, open) {
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", onclick: () => open(one.meeting) },
      h("span", { class: "name" }, one.name ?? "(no name)"),
      h("span", { class: "when", title: clock(one.ended_at) }, `ended ${ago(one.ended_at)} ago, at most ${one.participants_peak} people`),
    ),
  );
}
