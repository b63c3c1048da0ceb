// Marks, with the names that the settings give them.

import { get } from '../api.js';
import { h } from '../dom.js';
import { t } from '../i18n.js';

let names = new Map();

// Reads the names; without them marks are numbers alone.
export async function readNames() {
  const { items } = await get('/v1/marks').catch(() => ({ items: [] }));
  names = new Map(items.map(({ mark, name }) => [mark, name]));
}

// What Chat itself does with two of the marks.
const OWN = { 500: 'marks.500', 600: 'marks.600' };

export const explained = (mark) => (OWN[mark] ? t(OWN[mark]) : null);

// Whether a mark is none of those that have a name, although some have.
export const isStrange = (mark) => names.size > 0 && !names.has(mark) && !OWN[mark];

const worded = (mark) => (names.has(mark) ? `${mark} ${names.get(mark)}` : String(mark));

// "1000 teacher, 1001".
export const listed = (marks) => marks.map(worded).join(', ');

export const marks = (numbers) => (numbers.length
  ? h('span', { class: 'marks' }, numbers.map((one) => h('span', { class: 'mark', title: explained(one) },
    String(one), names.has(one) && h('small', {}, names.get(one)))))
  : h('span', { class: 'none' }, t('marks.none')));
