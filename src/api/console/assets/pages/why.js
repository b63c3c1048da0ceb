// Why a member of a room has, or lacks, marks.

import { get } from '../api.js';
import { h, show } from '../dom.js';
import { time } from '../format.js';
import { language, t } from '../i18n.js';
import { field, go, textInput } from '../parts/form.js';
import { icon } from '../parts/icon.js';
import { load } from '../parts/notice.js';
import { chapters, verdict } from '../parts/story.js';
import { marks } from '../parts/table.js';
import { viewerHint, writeButton } from '../parts/write.js';
import { retry } from './members.js';
import { resync } from './rooms.js';

// After a button was pressed the story is told again, a few times, until the work is done.
const LOOK_AGAIN = [700, 2000, 5000];

export function whyPage({ query, canWrite, signal }) {
  const group = field(t('rule.field.group'), textInput('group', query.group, { required: true }));
  const account = field(t('rule.field.account'), textInput('account', query.account, { required: true }));
  const answer = h('section', { 'aria-label': t('why.answer'), 'aria-live': 'polite' });
  const ask = (event) => {
    event.preventDefault();
    const next = { group: group.input.value.trim(), account: account.input.value.trim() };
    if (next.group === query.group && next.account === query.account) update(next);
    else go('why', next);
  };
  const update = (next) => {
    query = next;
    [group.input.value, account.input.value] = [next.group ?? '', next.account ?? ''];
    if (!next.group || !next.account) return show(answer);
    return load(answer, get('/v1/explain', { group: next.group, account: next.account }, { signal }), (facts) =>
      story(facts, canWrite, again));
  };
  const again = () => {
    update(query);
    for (const delay of LOOK_AGAIN) setTimeout(() => signal.aborted || update(query), delay);
  };
  update(query);
  return {
    title: t('why.title'),
    update,
    nodes: [
      viewerHint(canWrite),
      h('form', { class: 'filters', on: { submit: ask } }, group.node, account.node,
        h('div', { class: 'actions' }, h('button', { type: 'submit' }, t('why.ask')))),
      answer,
    ],
  };
}

function story(facts, canWrite, again) {
  const [tone, key, values] = verdict(facts);
  const { group, account, member } = facts;
  return [
    h('div', { class: `verdict ${tone}` }, icon(tone), h('div', {},
      h('h2', {}, t(key, { account, group, ...values })),
      member && h('p', {}, t('why.carries'), ' ', marks(member.marks), ' ', t('why.should'), ' ', marks(facts.desired)),
      member?.request_id && h('p', { class: 'hint' }, t('why.request'), ' ', h('code', {}, member.request_id)))),
    h('ol', { class: 'timeline' }, chapters(facts).map((one) => h('li', { class: one.tone },
      h('p', { class: 'event' }, time(one.at), ' ', t(one.key, one.values)),
      one.quote && h('blockquote', { lang: language() === 'en' ? null : 'en' }, one.quote)))),
    h('div', { class: 'actions' },
      member?.state === 'failed'
        && writeButton(canWrite, t('members.retry'), () => retry({ group, account }, again)),
      writeButton(canWrite, t('rooms.compare'), async () => {
        await resync(group);
        again();
      }, { kind: 'quiet' })),
    rules(t('why.matched', { n: facts.matched_total }), facts.matched.map((rule) => [rule, null])),
    rules(t('why.near'), facts.near.map((one) => [one.rule, t(`why.miss.${one.reason}`)])),
    room(facts.room),
  ];
}

const rules = (title, list) => (list.length === 0 ? null : h('section', { class: 'card' },
  h('h2', {}, title),
  h('ul', { class: 'plain-list' }, list.map(([rule, miss]) => h('li', {},
    h('a', { href: `#/rules/${encodeURIComponent(rule.id)}/edit` }, rule.id), ' ',
    h('code', {}, `${rule.group} · ${rule.account}`), ' ', marks(rule.marks),
    miss && h('p', { class: 'hint' }, miss))))));

function room(facts) {
  const says = [
    facts.state === 'unknown' && t('why.room.unknown'),
    facts.last_event_at && h('span', {}, t('why.room.event'), ' ', time(facts.last_event_at)),
    facts.at_mark_limit && t('why.room.limit', { marks: facts.marks.join(', ') }),
    facts.full_marks.length > 0 && t('why.room.full', { marks: facts.full_marks.join(', ') }),
  ].filter(Boolean);
  return says.length === 0 ? null : h('section', { class: 'card' }, h('h2', {}, t('why.room')),
    h('ul', { class: 'plain-list' }, says.map((one) => h('li', {}, one))));
}
