// A page that lists items: filters, whose values are the query of the address, and a table.

import { address, go } from '../address.js';
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

// The page before each page that was turned to, by address. A cursor leads only forwards.
const before = new Map();

// `find` reads a page of items for a query, `columns` are those of its table. `refresh`, given to
// both, reads the page again; `actions`, `tabs` and `above` are nodes beside the title and above the
// table.
export function listPage(name, { query, canWrite, signal }, { fields, find, columns, actions, tabs, above }) {
  const results = h('section', { tabindex: '-1', 'aria-label': t(`${name}.found`), 'aria-live': 'polite' });
  let current = query;
  const refresh = () => soonAgain(() => update(current), signal);
  const caption = (page) => t(`${name}.count`, { n: page.items.length })
    + (page.total === undefined ? '' : t('list.total', { n: page.total }));
  const list = (page) => [
    tabs?.(page, current),
    page.items.length === 0 ? h('p', { class: 'empty' }, t(`${name}.none`)) : [
      above?.(page, current, refresh),
      table(caption(page), columns(refresh, current), page.items),
      pager(name, current, page.next),
    ],
  ];
  const update = async (next) => {
    const turned = next.after !== current.after;
    current = next;
    for (const [key, one] of Object.entries(fields)) {
      // What is being typed is newer than the address.
      if (one.input !== document.activeElement || turned) one.input.value = next[key] ?? '';
    }
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
  const following = next && address(name, { ...query, after: next });
  if (following) before.set(following, address(name, query));
  const previous = after && before.get(address(name, query));
  if (!after && !next) return null;
  return h('nav', { class: 'pager', 'aria-label': t('pager.label') },
    after && previous !== address(name, first) && h('a', { class: 'button quiet', href: address(name, first) }, t('pager.first')),
    previous && h('a', { class: 'button quiet', href: previous }, t('pager.previous')),
    following && h('a', { class: 'button', href: following }, t('pager.next')));
}

// Links to the same list in its states, each with the number of its items.
export const stateTabs = (name, query, states) => h('nav', { class: 'tabs', 'aria-label': t(`${name}.state`) },
  states.map(([state, label, count, tone]) => {
    const { after, ...rest } = query;
    const current = (query.state ?? '') === state;
    return h('a', { href: address(name, { ...rest, state }), class: count > 0 ? tone : null, 'aria-current': current ? 'true' : null },
      label, ' ', h('span', { class: 'count' }, new Intl.NumberFormat().format(count)));
  }));

// A field whose value is searched for as one types.
export function searchAsTyped(one, page, fields) {
  let waiting;
  one.input.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (!one.input.isConnected) return;
      go(page, Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.input.value.trim()])), { replace: true });
    }, 250);
  });
}
