// Why a member of a room has, or lacks, marks.

import { go, rulePage } from '../address.js';
import { get } from '../api.js';
import { h, show } from '../dom.js';
import { clock, time } from '../format.js';
import { t } from '../i18n.js';
import { copyButton } from '../parts/copy.js';
import { field, textInput } from '../parts/form.js';
import { icon } from '../parts/icon.js';
import { soonAgain } from '../parts/list.js';
import { load } from '../parts/notice.js';
import { say } from '../parts/say.js';
import { chapters, verdict } from '../parts/story.js';
import { listed, marks } from '../parts/marks.js';
import { viewerHint } from '../parts/write.js';
import { retryButton } from './members.js';
import { compareButton } from './rooms.js';

export function explainPage({ query, canWrite, signal }) {
  const group = field(t('rule.field.group'), textInput('group', query.group, { required: true }));
  const account = field(t('rule.field.account'), textInput('account', query.account, { required: true }));
  const answer = h('section', { 'aria-label': t('explain.answer'), 'aria-live': 'polite' });
  const ask = (event) => {
    event.preventDefault();
    const next = { group: group.input.value.trim(), account: account.input.value.trim() };
    if (next.group === query.group && next.account === query.account) update(next);
    else go('explain', next);
  };
  const update = (next) => {
    query = next;
    [group.input.value, account.input.value] = [next.group ?? '', next.account ?? ''];
    if (!next.group || !next.account) return show(answer);
    return load(answer, get('/v1/explain', { group: next.group, account: next.account }, { signal }), (facts) =>
      story(facts, canWrite, () => soonAgain(() => update(query), signal)));
  };
  update(query);
  return {
    title: t('explain.title'),
    update,
    nodes: [
      viewerHint(canWrite),
      h('p', { class: 'lead' }, t('explain.lead')),
      h('form', { class: 'filters', on: { submit: ask } }, group.node, account.node,
        h('div', { class: 'actions' }, h('button', { type: 'submit' }, t('explain.ask')))),
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
      member && h('p', {}, pair(t('explain.has'), member.marks), ' ', pair(t('explain.should'), facts.desired)),
      member?.request_id && h('p', { class: 'hint' }, t('explain.request'), ' ', h('code', {}, member.request_id), ' ', copyButton(member.request_id)))),
    h('ol', { class: 'timeline' }, chapters(facts).map((one) => h('li', { class: one.tone },
      h('p', { class: 'event' }, clock(one.at), ' ', t(one.key, one.values)),
      one.quote && h('blockquote', {}, say(one.quote))))),
    h('div', { class: 'actions' },
      member?.state === 'failed' && retryButton(facts, canWrite, again),
      compareButton(group, canWrite, again)),
    rules(t('explain.matched', { n: facts.matched_total }), facts.matched.map((rule) => [rule, null])),
    rules(t('explain.near'), facts.near.map((one) => [one.rule, t(`explain.miss.${one.reason}`)])),
    room(facts.room),
  ];
}

const pair = (label, numbers) => h('span', { class: 'pair' }, label, ' ', marks(numbers));

const rules = (title, list) => (list.length === 0 ? null : h('section', { class: 'card' },
  h('h2', {}, title),
  h('ul', { class: 'plain-list' }, list.map(([rule, miss]) => h('li', {},
    h('a', { href: rulePage(rule.id) }, rule.id), ' ',
    h('code', {}, `${rule.group} · ${rule.account}`), ' ', marks(rule.marks),
    miss && h('p', { class: 'hint' }, miss))))));

function room(facts) {
  const says = [
    facts.state === 'unknown' && t('explain.room.unknown'),
    facts.last_event_at && h('span', {}, t('explain.room.event'), ' ', time(facts.last_event_at)),
    facts.at_mark_limit && t('explain.room.limit', { marks: listed(facts.marks) }),
    facts.full_marks.length > 0 && t('explain.room.full', { marks: listed(facts.full_marks) }),
  ].filter(Boolean);
  return says.length === 0 ? null : h('section', { class: 'card' }, h('h2', {}, t('explain.room')),
    h('ul', { class: 'plain-list' }, says.map((one) => h('li', {}, one))));
}
