// The rules: search, sort, enable and disable, delete; one by one or several together.

import { rulePage } from '../address.js';
import { get, here, ifVersion, rulePath, withQuery, write } from '../api.js';
import { h, show } from '../dom.js';
import { ago, moment, time } from '../format.js';
import { t } from '../i18n.js';
import { changes, summary } from '../parts/changes.js';
import { confirm } from '../parts/dialog.js';
import { field, select, textInput } from '../parts/form.js';
import { PAGE, listPage, searchAsTyped } from '../parts/list.js';
import { listed, marks } from '../parts/marks.js';
import { attempt } from '../parts/notice.js';
import { badge } from '../parts/table.js';
import { writeButton } from '../parts/write.js';

export function rulesPage(context) {
  const { canWrite, signal } = context;
  const exported = h('a', { class: 'button quiet', download: 'rules.ndjson' }, t('rules.export'));
  const fields = {
    q: field(t('rules.filter.q'), textInput('q', '', { type: 'search', placeholder: t('rules.filter.q.hint') })),
    matches_group: field(t('rules.filter.matches_group'), textInput('matches_group')),
    matches_account: field(t('rules.filter.matches_account'), textInput('matches_account')),
    mark: field(t('rules.filter.mark'), textInput('mark', '', { inputmode: 'numeric' })),
    label: field(t('rule.field.label'), textInput('label')),
    enabled: field(t('rules.filter.state'), select('enabled', [
      ['', t('filter.any')], ['true', t('rule.enabled')], ['false', t('rule.disabled')]])),
    sort: field(t('rules.sort'), select('sort', [['', t('rules.sort.id')], ['updated', t('rules.sort.updated')]])),
  };
  searchAsTyped(fields.q, 'rules', fields);
  const chosen = selection();
  return listPage('rules', context, {
    fields,
    find: (query) => {
      const { after, sort, ...filters } = query;
      exported.href = here(withQuery('/v1/rules/export', filters));
      exported.textContent = t(Object.values(filters).some(Boolean) ? 'rules.export.found' : 'rules.export');
      return get('/v1/rules', { ...query, limit: PAGE }, { signal });
    },
    columns: (refresh, { sort }) => [
      [t('rule.field.id'), (rule) => h('div', { class: 'pick' }, canWrite && chosen.box(rule.id), h('div', { class: 'stack' },
        h('a', { href: rulePage(rule.id) }, rule.id),
        sort && h('small', {}, t('rule.updated'), ' ', time(rule.updated_at)))), 'name'],
      [t('rule.field.group'), (rule) => h('code', {}, rule.group)],
      [t('rule.field.account'), (rule) => h('code', {}, rule.account)],
      [t('rule.field.marks'), (rule) => marks(rule.marks)],
      [t('rule.field.label'), (rule) => (rule.label ? h('span', { class: 'text' }, rule.label) : '–')],
      [t('rules.filter.state'), state],
      [t('rules.actions'), (rule) => actions(rule, canWrite, refresh), 'row-actions'],
    ],
    above: (page, query, refresh) => canWrite && chosen.bar(page.items.map(({ id }) => id), refresh),
    actions: [
      canWrite
        ? h('a', { class: 'button', href: '#/rules/new' }, t('rule.new'))
        : writeButton(false, t('rule.new')),
      exported,
    ],
  });
}

// The rules of the page that are chosen, and what can be done with them together.
function selection() {
  const ids = new Set();
  const boxes = new Map();
  const node = h('div', { class: 'actions selection' });
  let page = [];
  let refresh = () => {};
  const choose = (id, on) => {
    if (on) ids.add(id);
    else ids.delete(id);
    if (boxes.get(id)) boxes.get(id).checked = on;
  };
  const all = h('input', { type: 'checkbox', 'aria-label': t('rules.select.all') });
  all.addEventListener('change', () => {
    for (const id of page) choose(id, all.checked);
    draw();
  });
  const draw = () => {
    all.checked = page.length > 0 && page.every((id) => ids.has(id));
    show(node, h('label', { class: 'check' }, all, h('span', {}, ids.size ? t('rules.selected', { n: ids.size }) : t('rules.select.all'))),
      ids.size > 0 && [
        ['enable', ''], ['disable', ''], ['delete', 'harsh'],
      ].map(([action, kind]) => writeButton(true, t(`rule.${action}`), () => together(action), { kind: `quiet small ${kind}`, name: `${t(`rule.${action}`)}: ${t('rules.selected', { n: ids.size })}` })));
  };
  const together = (action) => attempt(async () => {
    const change = { ids: [...ids], action };
    const preview = await write('PATCH', '/v1/rules?dry_run=true', change);
    const sure = await confirm(t(`rules.many.${action}`, { n: ids.size }),
      [summary(preview), ...changes(preview.changes).filter(Boolean)], t(`rule.${action}`), { kind: action === 'delete' ? 'danger' : '' });
    if (!sure) return null;
    const done = await write('PATCH', '/v1/rules', change);
    ids.clear();
    await refresh();
    return done;
  }, (done) => done && summary(done));
  return {
    box: (id) => {
      const box = h('input', { type: 'checkbox', 'aria-label': t('rules.select', { id }) });
      box.checked = ids.has(id);
      box.addEventListener('change', () => {
        choose(id, box.checked);
        draw();
      });
      boxes.set(id, box);
      return box;
    },
    // Rules that are not on the page are chosen no longer: one acts on what one sees.
    bar: (shown, again) => {
      [page, refresh] = [shown, again];
      for (const id of [...ids]) if (!page.includes(id)) ids.delete(id);
      draw();
      return node;
    },
  };
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
    [t('rule.delete.text', { marks: listed(rule.marks) }), t('rule.delete.history')], t('rule.delete'));
  if (!sure) return;
  await change(t('rule.now.deleted', { id: rule.id }), () =>
    write('DELETE', rulePath(rule.id), undefined, ifVersion(rule.version)), done);
}

async function change(message, action, done) {
  await attempt(action, () => message, { 'precondition-failed': t('rule.stale.short') });
  await done();
}
