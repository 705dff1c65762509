// Dark or light: as the system says, unless somebody chose.

import { say } from "./dom.js";

const KEPT = "cdr-service-theme";
const NAMES = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

/** Let a button go through the themes. */
export function themes(button) {
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    say(button, NAMES[name]);
  };
  const kept = localStorage.getItem(KEPT);
  set(kept in NAMES ? kept : "system");
  button.addEventListener("click", () => {
    const order = Object.keys(NAMES);
    const next = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
    localStorage.setItem(KEPT, next);
    set(next);
  });
}
