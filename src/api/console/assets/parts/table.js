// Tables that become cards on a narrow screen. The roles are written out, since browsers drop them
// when a table is not laid out as one.

import { h } from '../dom.js';
import { icon } from './icon.js';

// Columns: [label, cell(row), class?]; the first one names the row.
export function table(caption, columns, rows) {
  const head = columns.map(([label, , kind]) =>
    h('th', { scope: 'col', role: 'columnheader', class: kind }, label));
  const body = rows.map((row) => h('tr', { role: 'row' }, columns.map(([label, cell, kind], index) =>
    (index === 0
      ? h('th', { scope: 'row', role: 'rowheader', class: kind }, cell(row))
      : h('td', { role: 'cell', class: kind, data: { label } }, cell(row))))));
  return h('div', { class: 'table' }, h('table', { role: 'table' },
    h('caption', {}, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
    h('tbody', { role: 'rowgroup' }, body)));
}

// A state as a sign and a word.
export const badge = (tone, words) => h('span', { class: `badge ${tone}` }, icon(tone), words);
