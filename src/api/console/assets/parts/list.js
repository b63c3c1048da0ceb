// A page that lists items: filters, whose values are the query of the address, and a table.

import { address } from '../address.js';
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { filterForm } from './form.js';
import { load } from './notice.js';
import { table } from './table.js';
import { viewerHint } from './write.js';

export const PAGE = 50;

// After a change the list is read again a few times, until the service has carried it out.
const READ_AGAIN = [700, 2000, 5000];

export function soonAgain(read, signal) {
  for (const delay of READ_AGAIN) setTimeout(() => signal.aborted || read(), delay);
  return read();
}

// `find` reads a page of items for a query, `columns` are those of its table. `refresh`, given to
// both, reads the page again; `actions` and `above` are nodes beside the title and above the table.
export function listPage(name, { query, canWrite, signal }, { fields, find, columns, actions, above }) {
  const results = h('section', { tabindex: '-1', 'aria-label': t(`${name}.found`), 'aria-live': 'polite' });
  let current = query;
  const refresh = () => soonAgain(() => update(current), signal);
  const list = (page) => (page.items.length === 0 ? h('p', { class: 'empty' }, t(`${name}.none`)) : [
    above?.(page, current, refresh),
    table(t(`${name}.count`, { n: page.items.length }), columns(refresh), page.items),
    pager(name, current, page.next),
  ]);
  const update = async (next) => {
    const turned = next.after !== current.after;
    current = next;
    for (const [key, one] of Object.entries(fields)) one.input.value = next[key] ?? '';
    await load(results, find(next), list);
    if (!turned) return;
    // The link that was followed is gone; without this, focus and view would stay below the new page.
    results.scrollIntoView();
    results.focus({ preventScroll: true });
  };
  update(query);
  return {
    title: t(`${name}.title`),
    update,
    nodes: [
      viewerHint(canWrite),
      h('div', { class: 'bar' }, h('p', { class: 'lead' }, t(`${name}.lead`)), actions && h('div', { class: 'actions' }, actions)),
      filterForm(t(`${name}.search`), name, fields),
      results,
    ],
  };
}

function pager(name, query, next) {
  const { after, ...first } = query;
  if (!after && !next) return null;
  return h('nav', { class: 'pager', 'aria-label': t('pager.label') },
    after && h('a', { class: 'button quiet', href: address(name, first) }, t('pager.first')),
    next && h('a', { class: 'button', href: address(name, { ...query, after: next }) }, t('pager.next')));
}
