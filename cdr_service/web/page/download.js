// A list as a file for a spreadsheet. The service makes it; the token travels in a header, so the link holds none.

import { open } from "./api.js";
import { h } from "./dom.js";

const MARK = "\ufeff"; // without it a spreadsheet takes the file for its own old encoding

/** Return a button that saves what a path answers, all of its pages. `parameters` returns what is asked for. */
export function saver(path, parameters, name, { pages = true, failed }) {
  const save = async () => {
    button.disabled = true;
    try {
      given(await whole(path, parameters(), pages), name);
    } catch (problem) {
      failed(problem.message);
    } finally {
      button.disabled = false;
    }
  };
  const button = h("button", { type: "button", class: "quiet save", onclick: save, "aria-label": `Save ${name} as CSV` }, "CSV");
  return button;
}

async function whole(path, parameters, pages) {
  const parts = [MARK];
  let cursor = null;
  do {
    const paging = pages ? { limit: 500, cursor } : {};
    const answer = await open(path, { ...parameters, ...paging }, { more: { Accept: "text/csv" } });
    const text = await answer.text();
    parts.push(cursor === null ? text : text.slice(text.indexOf("\n") + 1)); // the heading comes with each page
    cursor = answer.headers.get("Next-Cursor");
  } while (cursor);
  return parts;
}

function given(parts, name) {
  const url = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  h("a", { href: url, download: `${name.replaceAll(" ", "-")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000); // the browser has begun to read it by then
}
