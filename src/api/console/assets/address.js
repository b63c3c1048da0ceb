// Addresses of the console's pages. The part behind `#` names the page, its query the filters.

import { withQuery } from './api.js';

export const address = (page, query) => withQuery(`#/${page}`, query);
export const rulePage = (id, page = 'edit') => address(`rules/${encodeURIComponent(id)}/${page}`);
export const explainPage = ({ group, account }) => address('explain', { group, account });

// Goes to a page; `replace` leaves no step to go back to.
export function go(page, query, { replace = false } = {}) {
  if (replace) location.replace(address(page, query));
  else location.hash = address(page, query);
}
