// The live rooms: who of them waits, and how each was last compared with Chat.

import { get, write } from '../api.js';
import { h } from '../dom.js';
import { time } from '../format.js';
import { t } from '../i18n.js';
import { address, field, filterForm, select, textInput } from '../parts/form.js';
import { icon } from '../parts/icon.js';
import { failure, load, tell } from '../parts/notice.js';
import { badge, pager, table } from '../parts/table.js';
import { viewerHint, writeButton } from '../parts/write.js';

const PAGE = 50;
const STATES = ['applied', 'pending', 'failed', 'offline'];

export function roomsPage({ query, canWrite, signal }) {
  const fields = {
    group: field(t('rule.field.group'), textInput('group')),
    state: field(t('rooms.state'), select('state', '', [
      ['', t('filter.any')], ['live', t('rooms.live')], ['gone', t('rooms.gone')]])),
  };
  const results = h('section', { 'aria-label': t('rooms.found'), 'aria-live': 'polite' });
  let current = query;
  const update = (next) => {
    current = next;
    for (const [name, one] of Object.entries(fields)) one.input.value = next[name] ?? '';
    return load(results, get('/v1/rooms', { ...next, limit: PAGE }, { signal }), (page) => list(page, next, canWrite, refresh));
  };
  const refresh = () => update(current);
  update(query);
  return {
    title: t('rooms.title'),
    update,
    nodes: [viewerHint(canWrite), h('p', { class: 'lead' }, t('rooms.lead')), filterForm(t('rooms.search'), 'rooms', fields, query), results],
  };
}

function list(page, query, canWrite, refresh) {
  if (page.items.length === 0) return h('p', { class: 'empty' }, t('rooms.none'));
  const columns = [
    [t('rule.field.group'), (room) => h('a', { href: address('members', { group: room.group, state: 'all' }) }, room.group), 'name'],
    [t('rooms.state'), (room) => (room.state === 'live'
      ? badge('good', t('rooms.live'), icon('good'))
      : badge('rest', t('rooms.gone'), icon('rest')))],
    [t('rooms.members'), members],
    [t('rooms.event'), (room) => time(room.last_event_at)],
    [t('rooms.compared'), compared],
    [t('rules.actions'), (room) => actions(room, canWrite, refresh), 'row-actions'],
  ];
  return [table(t('rooms.count', { n: page.items.length }), columns, page.items), pager('rooms', query, page.next)];
}

// Only states that some member is in, each a way to the members.
const members = (room) => {
  const some = STATES.filter((name) => room.members[name] > 0);
  if (some.length === 0) return '–';
  return h('ul', { class: 'inline' }, some.map((name) => h('li', {},
    h('a', { href: address('members', { group: room.group, state: name }) }, t(`members.n.${name}`, { n: room.members[name] })))));
};

function compared({ sweep }) {
  const { drift } = sweep;
  const found = drift && ['missing', 'surplus', 'unheard', 'vanished'].filter((name) => drift[name] > 0);
  return h('div', { class: 'stack' },
    h('span', {}, time(sweep.at)),
    sweep.running && badge('rest', t('rooms.running'), icon('rest')),
    sweep.requested_at && !sweep.running && badge('rest', t('rooms.asked'), icon('rest')),
    found && h('small', {}, found.length
      ? found.map((name) => t(`drift.${name}`, { n: drift[name] })).join(' · ')
      : t('drift.nothing')),
    sweep.last_error && h('small', { class: 'wrong' }, icon('bad'), ' ',
      t('rooms.sweep.failed', { n: sweep.failures }), ' ', h('span', { lang: 'en' }, sweep.last_error)));
}

function actions(room, canWrite, refresh) {
  const compare = async () => {
    await resync(room.group);
    await refresh();
  };
  return writeButton(canWrite, t('rooms.compare'), compare, { kind: 'quiet small', name: `${t('rooms.compare')}: ${room.group}` });
}

// Asks for a comparison and says so.
export async function resync(group) {
  try {
    await write('POST', '/v1/rooms/resync', { group });
    tell(t('rooms.now.asked', { group }));
  } catch (error) {
    if (error.kind === undefined) throw error;
    tell(failure(error).textContent, 'bad');
  }
}
