// The rules: found by what they say, switched on and off, removed.

import { get, ifVersion, rulePath, write } from '../api.js';
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { ago, moment } from '../format.js';
import { confirm } from '../parts/dialog.js';
import { field, filterForm, select, textInput } from '../parts/form.js';
import { icon } from '../parts/icon.js';
import { failure, load, tell } from '../parts/notice.js';
import { badge, marks, pager, table } from '../parts/table.js';
import { viewerHint, writeButton } from '../parts/write.js';

const PAGE = 50;

export function rulesPage({ query, canWrite, signal }) {
  const fields = {
    id: field(t('rule.field.id'), textInput('id')),
    group: field(t('rule.field.group'), textInput('group')),
    account: field(t('rule.field.account'), textInput('account')),
    mark: field(t('rules.filter.mark'), textInput('mark', '', { inputmode: 'numeric' })),
    label: field(t('rule.field.label'), textInput('label')),
    enabled: field(t('rules.filter.state'), select('enabled', '', [
      ['', t('filter.any')], ['true', t('rule.enabled')], ['false', t('rule.disabled')]])),
  };
  const results = h('section', { 'aria-label': t('rules.found'), 'aria-live': 'polite' });
  let current = query;
  const update = (next) => {
    current = next;
    for (const [name, one] of Object.entries(fields)) one.input.value = next[name] ?? '';
    return load(results, find(next, signal), (page) => list(page, next, { canWrite, refresh }));
  };
  const refresh = () => update(current);
  update(query);
  return {
    title: t('rules.title'),
    update,
    nodes: [
      viewerHint(canWrite),
      h('div', { class: 'bar' },
        h('p', { class: 'lead' }, t('rules.lead')),
        h('div', { class: 'actions' },
          canWrite
            ? h('a', { class: 'button', href: '#/rules/new' }, t('rules.new'))
            : writeButton(false, t('rules.new'), () => {}),
          h('a', { class: 'button quiet', href: '/v1/rules/export', download: 'rules.ndjson' }, t('rules.export')))),
      filterForm(t('rules.search'), 'rules', fields, query),
      results,
    ],
  };
}

// An id is looked up; everything else is a filter of the list.
async function find({ id, ...query }, signal) {
  if (!id) return get('/v1/rules', { ...query, limit: PAGE }, { signal });
  try {
    return { items: [await get(rulePath(id), {}, { signal })], next: null };
  } catch (error) {
    if (error.kind === 'not-found') return { items: [], next: null };
    throw error;
  }
}

function list(page, query, { canWrite, refresh }) {
  if (page.items.length === 0) return h('p', { class: 'empty' }, t('rules.none'));
  const columns = [
    [t('rule.field.id'), (rule) => h('a', { href: `#/rules/${encodeURIComponent(rule.id)}/edit` }, rule.id), 'name'],
    [t('rule.field.group'), (rule) => h('code', {}, rule.group)],
    [t('rule.field.account'), (rule) => h('code', {}, rule.account)],
    [t('rule.field.marks'), (rule) => marks(rule.marks)],
    [t('rule.field.label'), (rule) => rule.label || '–'],
    [t('rules.state'), state],
    [t('rules.actions'), (rule) => actions(rule, canWrite, refresh), 'row-actions'],
  ];
  return [
    table(t('rules.count', { n: page.items.length }), columns, page.items),
    pager('rules', query, page.next),
  ];
}

// Whether a rule holds now, and if not, why.
export function state(rule) {
  const now = Date.now();
  if (!rule.enabled) return badge('rest', t('rule.disabled'), icon('rest'));
  if (rule.starts_at && new Date(rule.starts_at) > now) {
    return badge('rest', t('rule.begins', { when: moment(rule.starts_at) }), icon('rest'));
  }
  if (rule.ends_at && new Date(rule.ends_at) <= now) {
    return badge('rest', t('rule.ended', { when: ago(rule.ends_at) }), icon('rest'));
  }
  return badge('good', rule.ends_at ? t('rule.until', { when: moment(rule.ends_at) }) : t('rule.enabled'), icon('good'));
}

function actions(rule, canWrite, refresh) {
  const toggle = () => change(t(rule.enabled ? 'rule.now.disabled' : 'rule.now.enabled', { id: rule.id }), () =>
    write('PATCH', rulePath(rule.id), { enabled: !rule.enabled }, ifVersion(rule.version)), refresh);
  const turn = t(rule.enabled ? 'rule.disable' : 'rule.enable');
  const named = (words) => ({ kind: 'quiet small', name: `${words}: ${rule.id}` });
  return h('div', { class: 'actions' },
    writeButton(canWrite, turn, toggle, named(turn)),
    writeButton(canWrite, t('rule.delete'), () => remove(rule, refresh), named(t('rule.delete'))),
    h('a', { class: 'button quiet small', href: `#/rules/${encodeURIComponent(rule.id)}/history`, 'aria-label': `${t('rule.history')}: ${rule.id}` }, t('rule.history')));
}

// Asks, then removes the rule as it was seen.
export async function remove(rule, done) {
  const sure = await confirm(t('rule.delete.title', { id: rule.id }),
    [t('rule.delete.text', { marks: rule.marks.join(', ') }), t('rule.delete.history')], t('rule.delete'));
  if (!sure) return;
  await change(t('rule.now.deleted', { id: rule.id }), () =>
    write('DELETE', rulePath(rule.id), undefined, ifVersion(rule.version)), done);
}

async function change(news, attempt, done) {
  try {
    await attempt();
    tell(news);
  } catch (error) {
    if (error.kind === undefined) throw error;
    tell(error.kind === 'precondition-failed' ? t('rule.stale.short') : failure(error).textContent, 'bad');
  }
  await done();
}
