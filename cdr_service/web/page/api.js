// Requests to the query API. The token travels in a header and is kept for this tab alone; it is never in a URL.

const KEPT = "cdr-service-token";

/** The service answered with a problem, or not at all (status 0). */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let askForToken = async () => {};
let asked = null;

/** Say who asks a person for the token. */
export function tokenFrom(ask) {
  askForToken = ask;
}

function headers(more) {
  const token = sessionStorage.getItem(KEPT);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** Return the answer to a request, after the token was asked for if need be. Throws Problem. */
export async function open(path, parameters = {}, { more = {}, signal } = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  const url = query ? `${path}?${query}` : path;
  for (;;) {
    const sent = sessionStorage.getItem(KEPT);
    const response = await fetch(url, { headers: headers(more), signal, cache: "no-store", credentials: "omit" }).catch(
      (error) => {
        if (signal?.aborted) throw error;
        throw new Problem(0, "The service does not answer.");
      },
    );
    if (response.ok) return response;
    if (response.status !== 401) throw new Problem(response.status, await detail(response));
    if (sessionStorage.getItem(KEPT) === sent) await newToken(sent !== null);
  }
}

/** Ask for the token once, however many requests want it. */
async function newToken(refused) {
  asked ??= askForToken(refused).then((token) => sessionStorage.setItem(KEPT, token));
  await asked;
  asked = null;
}

async function detail(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return `The service answered ${response.status}.`;
  }
}

/** Return the JSON that a path answers. Throws Problem. */
export async function get(path, parameters = {}, options = {}) {
  return (await open(path, parameters, options)).json();
}

/** Return the items of a list, page by page, up to so many, and whether there are more. */
export async function all(path, parameters, most) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { ...parameters, limit: 500, cursor });
    items.push(...page.items);
    cursor = page.next;
  } while (cursor && items.length < most);
  return { items, more: cursor !== null };
}
