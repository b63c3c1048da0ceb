// The members whom rules name, by state: first of all those who were given up, with the reason.

import { get, write } from '../api.js';
import { h } from '../dom.js';
import { time } from '../format.js';
import { language, t } from '../i18n.js';
import { confirm } from '../parts/dialog.js';
import { address, field, filterForm, select, textInput } from '../parts/form.js';
import { icon } from '../parts/icon.js';
import { failure, load, tell } from '../parts/notice.js';
import { badge, marks, pager, table } from '../parts/table.js';
import { viewerHint, writeButton } from '../parts/write.js';

const PAGE = 50;
const TONES = { applied: 'good', pending: 'warn', failed: 'bad', offline: 'rest' };

export function membersPage({ query, canWrite, signal }) {
  const states = ['failed', 'pending', 'applied', 'offline', 'all'];
  const fields = {
    state: field(t('members.state'), select('state', 'failed', states.map((one) => [one, t(`members.state.${one}`)]))),
    group: field(t('rule.field.group'), textInput('group')),
    account: field(t('rule.field.account'), textInput('account')),
  };
  const results = h('section', { 'aria-label': t('members.found'), 'aria-live': 'polite' });
  let current = query;
  const update = (next) => {
    current = next;
    for (const [name, one] of Object.entries(fields)) one.input.value = next[name] || (name === 'state' ? 'failed' : '');
    const state = fields.state.input.value;
    const asked = { ...next, state: state === 'all' ? '' : state, limit: PAGE };
    return load(results, get('/v1/members', asked, { signal }), (page) => list(page, next, state, canWrite, refresh));
  };
  const refresh = () => update(current);
  update(query);
  return {
    title: t('members.title'),
    update,
    nodes: [viewerHint(canWrite), h('p', { class: 'lead' }, t('members.lead')), filterForm(t('members.search'), 'members', fields, query), results],
  };
}

function list(page, query, state, canWrite, refresh) {
  if (page.items.length === 0) return h('p', { class: 'empty' }, t(state === 'failed' ? 'members.none.failed' : 'members.none'));
  const { group, account } = query;
  const retryAll = async () => {
    const sure = await confirm(t('members.retry.title'), [t('members.retry.text')], t('members.retry.all'), { kind: '' });
    if (sure) await retry({ group, account }, refresh);
  };
  const columns = [
    [t('rule.field.account'), (member) => h('a', { href: address('why', { group: member.group, account: member.account }) }, member.account), 'name'],
    [t('rule.field.group'), (member) => h('code', {}, member.group)],
    [t('members.state'), (member) => badge(TONES[member.state], t(`members.state.${member.state}`), icon(TONES[member.state]))],
    [t('rule.field.marks'), (member) => marks(member.marks)],
    [t('members.reason'), reason, 'wide-cell'],
    [t('members.since'), (member) => time(member.failed_at ?? member.pending_since ?? member.confirmed_at ?? member.heard_at)],
    [t('rules.actions'), (member) => actions(member, canWrite, refresh), 'row-actions'],
  ];
  return [
    state === 'failed' && h('div', { class: 'actions' }, writeButton(canWrite, t('members.retry.all'), retryAll)),
    table(t('members.count', { n: page.items.length }), columns, page.items),
    pager('members', query, page.next),
  ];
}

// What the last call answered is in the service's own words.
const reason = (member) => (member.last_error
  ? h('span', { lang: language() === 'en' ? null : 'en' }, member.last_error)
  : '–');

const actions = (member, canWrite, refresh) => h('div', { class: 'actions' },
  member.state === 'failed' && writeButton(canWrite, t('members.retry'),
    () => retry({ group: member.group, account: member.account }, refresh),
    { kind: 'quiet small', name: `${t('members.retry')}: ${member.account}` }),
  h('a', { class: 'button quiet small', href: address('why', { group: member.group, account: member.account }), 'aria-label': `${t('nav.why')} ${member.account}` }, t('nav.why')));

// Gives those who were given up another try, and says how many there were.
export async function retry(whom, done) {
  const given = Object.fromEntries(Object.entries(whom).filter(([, value]) => value));
  try {
    const { retried } = await write('POST', '/v1/members/retry', given);
    tell(t('members.retried', { n: retried }));
  } catch (error) {
    if (error.kind === undefined) throw error;
    tell(failure(error).textContent, 'bad');
  }
  await done();
}
