// Calls to the service this page came from. Paths are relative to the page, because a proxy may add a
// prefix to them. A failure is an ApiError that carries the problem
// document of RFC 9457, or none if no answer came.

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? 'no answer');
    this.status = status;
    this.problem = problem;
  }

  // The last part of the problem's type; `unreachable` without an answer.
  get kind() {
    return this.problem?.type?.split(':').pop() ?? (this.status ? 'internal' : 'unreachable');
  }
}

let whenSignedOut = () => {};

export function onSignedOut(handler) {
  whenSignedOut = handler;
}

// A path of the service as the browser asks for it.
export const here = (path) => `.${path}`;

async function send(method, path, { body, headers, signal } = {}) {
  let response;
  try {
    response = await fetch(here(path), {
      method,
      body,
      signal,
      headers: { 'X-Stickymark-Console': '1', ...headers },
      credentials: 'same-origin',
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, null);
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  if (response.status === 401 && path !== '/console/session') whenSignedOut();
  throw new ApiError(response.status, problem);
}

const read = async (response) => (response.status === 204 ? null : response.json());

// A path with a query; empty parameters are left out.
export function withQuery(path, query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

export const get = async (path, query, options) => read(await send('GET', withQuery(path, query), options));

export async function write(method, path, value, headers = {}) {
  const json = value === undefined ? {} : { 'Content-Type': 'application/json' };
  const body = value === undefined ? undefined : JSON.stringify(value);
  return read(await send(method, path, { body, headers: { ...json, ...headers } }));
}

export const importRules = async (rules, query) => read(await send('POST', withQuery('/v1/rules/import', query), {
  body: rules,
  headers: { 'Content-Type': 'application/x-ndjson' },
}));

export const rulePath = (id) => `/v1/rules/${encodeURIComponent(id)}`;

// The header that allows a write only while the rule is at this version.
export const ifVersion = (version) => ({ 'If-Match': `"${version}"` });

// The items of all pages of a list, up to `pages` pages.
export async function getAll(path, query, pages = 20) {
  const items = [];
  let after = '';
  for (let page = 0; page < pages; page += 1) {
    const answer = await get(path, { ...query, limit: 500, after });
    items.push(...answer.items);
    if (!answer.next) break;
    after = answer.next;
  }
  return items;
}
