// The difference between two states of a rule, field by field.

import { h } from '../dom.js';
import { t } from '../i18n.js';
import { moment } from '../format.js';
import { listed } from './marks.js';

const FIELDS = ['group', 'account', 'marks', 'enabled', 'starts_at', 'ends_at', 'label', 'note'];

const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

function words(name, value) {
  if (value === null || value === undefined || value === '') return t('diff.nothing');
  if (name === 'marks') return listed(value);
  if (name === 'enabled') return t(value ? 'rule.enabled' : 'rule.disabled');
  if (name === 'starts_at' || name === 'ends_at') return moment(value);
  return String(value);
}

// Either state may be missing: the rule was created, or deleted. Words and signs say which, not only
// the colour.
export function diff(before, after) {
  const changed = FIELDS.filter((name) => !same(before?.[name], after?.[name])
    && !(before && after ? false : isPlain(name, (before ?? after)[name])));
  if (changed.length === 0) return h('p', { class: 'none' }, t('diff.same'));
  return h('dl', { class: 'diff' }, changed.map((name) => h('div', {},
    h('dt', {}, t(`rule.field.${name}`)),
    h('dd', {},
      before && h('del', {}, h('span', { class: 'sr' }, t('diff.before')), words(name, before[name])),
      before && after && ' ',
      after && h('ins', {}, h('span', { class: 'sr' }, t('diff.after')), words(name, after[name]))))));
}

// Whether a field of a rule that is created or deleted has its default, which is not shown.
const isPlain = (name, value) =>
  value === null || value === undefined || value === '' || (name === 'enabled' && value === true);

const ACTIONS = { created: '+', updated: '~', deleted: '−' };
export const action = (name) => h('span', { class: `action ${name}` },
  h('span', { 'aria-hidden': 'true' }, ACTIONS[name]), t(`action.${name}`));
