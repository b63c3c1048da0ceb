// Tables that become cards on a narrow screen. The roles are written out, since browsers forget them
// when a table is laid out as anything else.

import { h } from '../dom.js';
import { t } from '../i18n.js';
import { address } from './form.js';

// Columns: [label, cell(row), class?]; the first one names the row. `describe` adds data to a row.
export function table(caption, columns, rows) {
  const head = columns.map(([label, , kind]) =>
    h('th', { scope: 'col', role: 'columnheader', class: kind }, label));
  const body = rows.map((row) => h('tr', { role: 'row' }, columns.map(([label, cell, kind], index) =>
    (index === 0
      ? h('th', { scope: 'row', role: 'rowheader', class: kind }, cell(row))
      : h('td', { role: 'cell', class: kind, data: { label } }, cell(row))))));
  return h('table', { role: 'table' },
    h('caption', {}, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
    h('tbody', { role: 'rowgroup' }, body));
}

// Below a page of a list: back to its beginning, on to what follows.
export function pager(route, query, next) {
  const { after, ...first } = query;
  if (!after && !next) return null;
  return h('nav', { class: 'pager', 'aria-label': t('pager.label') },
    after && h('a', { class: 'button quiet', href: address(route, first) }, t('pager.first')),
    next && h('a', { class: 'button', href: address(route, { ...query, after: next }) }, t('pager.next')));
}

// Marks as small labels in one line.
export const marks = (numbers) => (numbers.length
  ? h('span', { class: 'marks' }, numbers.map((one) => h('span', { class: 'mark' }, String(one))))
  : h('span', { class: 'none' }, t('marks.none')));

// A state as a sign and a word.
export const badge = (tone, words, sign) => h('span', { class: `badge ${tone}` }, sign, words);
