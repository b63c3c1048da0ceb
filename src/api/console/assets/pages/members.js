// The members matched by rules, failed ones first, each with the reason.

import { address, explainPage } from '../address.js';
import { get, write } from '../api.js';
import { h } from '../dom.js';
import { time } from '../format.js';
import { t } from '../i18n.js';
import { confirm } from '../parts/dialog.js';
import { field, textInput } from '../parts/form.js';
import { PAGE, listPage, stateTabs } from '../parts/list.js';
import { attempt } from '../parts/notice.js';
import { marks } from '../parts/marks.js';
import { say } from '../parts/say.js';
import { badge } from '../parts/table.js';
import { writeButton } from '../parts/write.js';

const TONES = { failed: 'bad', pending: 'warn', applied: 'good', offline: 'rest' };
// Failed members that come before all others.
const FAILED_FIRST = 20;

export function membersPage(context) {
  const { canWrite, signal } = context;
  return listPage('members', context, {
    fields: {
      group: field(t('rule.field.group'), textInput('group')),
      account: field(t('rule.field.account'), textInput('account')),
    },
    find: (query) => find(query, signal),
    tabs: ({ counts }, query) => stateTabs('members', query, [
      ['', t('members.state.all'), Object.values(counts).reduce((sum, one) => sum + one, 0)],
      ...Object.keys(TONES).map((one) => [one, t(`members.state.${one}`), counts[one], one === 'failed' ? 'bad' : '']),
    ]),
    columns: (refresh) => [
      [t('rule.field.account'), (member) => h('a', { href: explainPage(member) }, member.account), 'name'],
      [t('rule.field.group'), (member) => h('code', {}, member.group)],
      [t('members.state'), (member) => badge(TONES[member.state], t(`members.state.${member.state}`))],
      [t('rule.field.marks'), (member) => marks(member.marks)],
      [t('members.reason'), (member) => say(member.message) ?? '–', 'wide-cell'],
      [t('members.since'), (member) => time(member.failed_at ?? member.pending_since ?? member.confirmed_at ?? member.heard_at)],
      [t('rules.actions'), (member) => actions(member, canWrite, refresh), 'row-actions'],
    ],
    above: (page, query, refresh) => above(page, query, canWrite, refresh),
  });
}

// The API lists members by room and account. The first page of all states also has the failed ones
// of later pages, on top.
async function find(query, signal) {
  const asked = (more) => get('/v1/members', { ...query, ...more }, { signal });
  if (query.state || query.after) return asked({ limit: PAGE });
  const [failed, page] = await Promise.all([asked({ state: 'failed', limit: FAILED_FIRST }), asked({ limit: PAGE })]);
  const key = (member) => JSON.stringify([member.group, member.account]);
  const first = new Set(failed.items.map(key));
  return { ...page, items: [...failed.items, ...page.items.filter((member) => !first.has(key(member)))], more: failed.next };
}

function above(page, { group, account, state }, canWrite, refresh) {
  if (!page.items.some((member) => member.state === 'failed')) return null;
  const retryAll = async () => {
    const sure = await confirm(t('members.retry.title'), [t('members.retry.text')], t('members.retry.all'), { kind: '' });
    if (sure) await retry({ group, account }, refresh);
  };
  return h('div', { class: 'actions' },
    writeButton(canWrite, t('members.retry.all'), retryAll),
    page.more && !state && h('a', { href: address('members', { group, account, state: 'failed' }) }, t('members.failed.more')));
}

const actions = (member, canWrite, refresh) => h('div', { class: 'actions' },
  member.state === 'failed' && retryButton(member, canWrite, refresh, 'quiet small'),
  h('a', { class: 'button quiet small', href: explainPage(member), 'aria-label': `${t('nav.explain')}: ${member.account}` }, t('nav.explain')));

export const retryButton = ({ group, account }, canWrite, done, kind = '') => writeButton(canWrite, t('members.retry'),
  () => retry({ group, account }, done), { kind, name: `${t('members.retry')}: ${account}` });

async function retry({ group, account }, done) {
  const filter = { ...(group && { group }), ...(account && { account }) };
  await attempt(() => write('POST', '/v1/members/retry', filter), ({ retried }) => t('members.retried', { n: retried }));
  await done();
}
