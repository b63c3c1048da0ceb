// The rules: search, enable and disable, delete.

import { rulePage } from '../address.js';
import { get, ifVersion, rulePath, withQuery, write } from '../api.js';
import { h } from '../dom.js';
import { ago, moment } from '../format.js';
import { t } from '../i18n.js';
import { confirm } from '../parts/dialog.js';
import { field, select, textInput } from '../parts/form.js';
import { PAGE, listPage } from '../parts/list.js';
import { attempt } from '../parts/notice.js';
import { badge, marks } from '../parts/table.js';
import { writeButton } from '../parts/write.js';

export function rulesPage(context) {
  const { canWrite, signal } = context;
  const exported = h('a', { class: 'button quiet', download: 'rules.ndjson' }, t('rules.export'));
  return listPage('rules', context, {
    fields: {
      id: field(t('rule.field.id'), textInput('id')),
      group: field(t('rule.field.group'), textInput('group')),
      account: field(t('rule.field.account'), textInput('account')),
      mark: field(t('rules.filter.mark'), textInput('mark', '', { inputmode: 'numeric' })),
      label: field(t('rule.field.label'), textInput('label')),
      enabled: field(t('rules.filter.state'), select('enabled', [
        ['', t('filter.any')], ['true', t('rule.enabled')], ['false', t('rule.disabled')]])),
    },
    find: (query) => {
      exported.href = withQuery('/v1/rules/export', { label: query.label });
      return find(query, signal);
    },
    columns: (refresh) => [
      [t('rule.field.id'), (rule) => h('a', { href: rulePage(rule.id) }, rule.id), 'name'],
      [t('rule.field.group'), (rule) => h('code', {}, rule.group)],
      [t('rule.field.account'), (rule) => h('code', {}, rule.account)],
      [t('rule.field.marks'), (rule) => marks(rule.marks)],
      [t('rule.field.label'), (rule) => (rule.label ? h('span', { class: 'text' }, rule.label) : '–')],
      [t('rules.filter.state'), state],
      [t('rules.actions'), (rule) => actions(rule, canWrite, refresh), 'row-actions'],
    ],
    actions: [
      canWrite
        ? h('a', { class: 'button', href: '#/rules/new' }, t('rule.new'))
        : writeButton(false, t('rule.new')),
      exported,
    ],
  });
}

// The API filters by everything but the id.
async function find({ id, ...query }, signal) {
  if (!id) return get('/v1/rules', { ...query, limit: PAGE }, { signal });
  try {
    return { items: [await get(rulePath(id), {}, { signal })], next: null };
  } catch (error) {
    if (error.kind === 'not-found') return { items: [], next: null };
    throw error;
  }
}

// Whether a rule is active now, and if not, why.
function state(rule) {
  const now = Date.now();
  if (!rule.enabled) return badge('rest', t('rule.disabled'));
  if (rule.starts_at && new Date(rule.starts_at) > now) return badge('rest', t('rule.begins', { when: moment(rule.starts_at) }));
  if (rule.ends_at && new Date(rule.ends_at) <= now) return badge('rest', t('rule.ended', { when: ago(rule.ends_at) }));
  return badge('good', rule.ends_at ? t('rule.until', { when: moment(rule.ends_at) }) : t('rule.enabled'));
}

function actions(rule, canWrite, refresh) {
  const toggle = () => change(t(rule.enabled ? 'rule.now.disabled' : 'rule.now.enabled', { id: rule.id }), () =>
    write('PATCH', rulePath(rule.id), { enabled: !rule.enabled }, ifVersion(rule.version)), refresh);
  const turn = t(rule.enabled ? 'rule.disable' : 'rule.enable');
  const named = (words, kind = 'quiet small') => ({ kind, name: `${words}: ${rule.id}` });
  return h('div', { class: 'actions' },
    writeButton(canWrite, turn, toggle, named(turn)),
    h('a', { class: 'button quiet small', href: rulePage(rule.id, 'history'), 'aria-label': `${t('rule.history')}: ${rule.id}` }, t('rule.history')),
    writeButton(canWrite, t('rule.delete'), () => remove(rule, refresh), named(t('rule.delete'), 'quiet small harsh')));
}

// Asks, then deletes the version of the rule that was shown.
export async function remove(rule, done) {
  const sure = await confirm(t('rule.delete.title', { id: rule.id }),
    [t('rule.delete.text', { marks: rule.marks.join(', ') }), t('rule.delete.history')], t('rule.delete'));
  if (!sure) return;
  await change(t('rule.now.deleted', { id: rule.id }), () =>
    write('DELETE', rulePath(rule.id), undefined, ifVersion(rule.version)), done);
}

async function change(message, action, done) {
  await attempt(action, () => message, { 'precondition-failed': t('rule.stale.short') });
  await done();
}
