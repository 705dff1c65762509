// The meetings that made a peak of the shared pool; each opens its own detail.

import { get } from "./api.js";
import { badge } from "./badge.js";
import { h } from "./dom.js";
import { clock, sixths } from "./format.js";

/** Let the dialog show peaks: what is returned takes a span, of which the highest use is shown. */
export function peaks(dialog, { deployment, open }) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  return async (since, until) => {
    filled(dialog, "One moment …", []);
    dialog.showModal();
    try {
      const asked = { deployment: deployment(), since: since?.toISOString(), until: until?.toISOString() };
      const peak = await get("v1/usage/peak", asked);
      const title = peak.at ? `${sixths(peak.shared_sixths)} SMP+ at ${clock(peak.at)}` : "No SMP+ was used then";
      filled(dialog, title, [
        h("p", { class: "facts" }, `the most that was in use at once, by the policy ${peak.policy}`),
        peak.meetings.length || !peak.at
          ? h("ol", { class: "peak-meetings" }, peak.meetings.map((one) => meeting(one, open)))
          : h("p", { class: "empty" }, "The meetings that made it are no longer kept."),
      ]);
    } catch (problem) {
      filled(dialog, "The peak cannot be told", [h("p", { class: "empty" }, problem.message)]);
    }
  };
}

function filled(dialog, title, parts) {
  dialog.replaceChildren(
    h(
      "header",
      {},
      h("h2", { id: "peak-title" }, title),
      h("button", { type: "button", class: "quiet close", "aria-label": "Close", onclick: () => dialog.close() }, "✕"),
    ),
    ...parts,
  );
  (dialog.querySelector(".peak-meetings button") ?? dialog.querySelector(".close")).focus({ preventScroll: true });
}

function meeting(one, open) {
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", onclick: () => open(one.id) },
      h("span", { class: "name" }, one.name ?? "(no name)"),
      badge({ type: "SMP+", holder: null, weight: one.weight }),
      h("span", { class: "more" }, [one.owner ? `space of ${one.owner}` : null, `on SMP+ since ${clock(one.since)}`].filter(Boolean).join(" · ")),
    ),
  );
}
