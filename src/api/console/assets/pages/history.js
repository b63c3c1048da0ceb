// The changes of a rule, newest first; also of a deleted one.

import { rulePage } from '../address.js';
import { getAll, rulePath } from '../api.js';
import { h } from '../dom.js';
import { time } from '../format.js';
import { t } from '../i18n.js';
import { copyButton } from '../parts/copy.js';
import { action, diff } from '../parts/diff.js';
import { load } from '../parts/notice.js';

export function historyPage({ id }) {
  const list = h('section', { 'aria-label': t('history.list') });
  load(list, getAll(`${rulePath(id)}/history`), (entries) =>
    h('ol', { class: 'timeline', reversed: true }, entries.reverse().map(entry)));
  return {
    title: t('history.title', { id }),
    nodes: [h('p', { class: 'facts' }, h('a', { href: rulePage(id) }, t('history.back'))), list],
  };
}

const entry = (change) => h('li', {},
  h('p', { class: 'event' }, action(change.action), ' ', t('history.by', { actor: change.actor }), ' · ', time(change.at)),
  change.request_id && h('p', { class: 'hint' }, t('history.request'), ' ', h('code', {}, change.request_id), ' ', copyButton(change.request_id)),
  diff(change.before, change.after));
