// What a change of many rules does: the counts, and each rule before and after.

import { h } from '../dom.js';
import { t } from '../i18n.js';
import { action, diff } from './diff.js';

// Changes beyond these are counted, not shown.
const SHOWN = 200;

export const summary = ({ created, updated, removed, unchanged }) => t('import.summary', { created, updated, removed, unchanged });

export const changes = (list) => [
  h('ol', { class: 'timeline' }, list.slice(0, SHOWN).map((change) => h('li', {},
    h('p', { class: 'event' }, action(change.action), ' ', h('strong', {}, change.id)),
    diff(change.before, change.after)))),
  list.length > SHOWN && h('p', { class: 'none' }, t('import.more', { n: list.length - SHOWN })),
];
