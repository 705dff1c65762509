// Asks a person for the API's token.

import { $, say } from "./dom.js";

/** Return who asks, by a dialog. */
export function tokens(dialog) {
  const field = $("token-value");
  dialog.addEventListener("cancel", (event) => event.preventDefault()); // without it there is nothing to show
  return (refused) =>
    new Promise((resolve) => {
      if (refused) say($("token-said"), "The service does not take this token. It is the setting CDR_API_TOKEN.");
      field.value = "";
      dialog.showModal();
      $("token-form").onsubmit = () => {
        const token = field.value.trim();
        field.value = "";
        resolve(token);
      };
    });
}
