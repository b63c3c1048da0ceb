// The rooms: their members by state, and their last comparison with Chat.

import { address } from '../address.js';
import { get, write } from '../api.js';
import { h } from '../dom.js';
import { time } from '../format.js';
import { t } from '../i18n.js';
import { field, textInput } from '../parts/form.js';
import { icon } from '../parts/icon.js';
import { PAGE, listPage, stateTabs } from '../parts/list.js';
import { attempt } from '../parts/notice.js';
import { say } from '../parts/say.js';
import { DRIFT } from '../parts/states.js';
import { badge } from '../parts/table.js';
import { writeButton } from '../parts/write.js';

const STATES = ['applied', 'pending', 'failed', 'offline'];

export function roomsPage(context) {
  const { canWrite, signal } = context;
  return listPage('rooms', context, {
    fields: {
      group: field(t('rule.field.group'), textInput('group')),
    },
    // Rules may name thousands of rooms that Chat does not have; live rooms are what one looks for.
    find: ({ state, ...query }) => get('/v1/rooms', { ...query, state: state === 'any' ? '' : state || 'live', limit: PAGE }, { signal }),
    tabs: ({ counts }, query) => stateTabs('rooms', query, [
      ['', t('rooms.live'), counts.live], ['gone', t('rooms.gone'), counts.gone], ['any', t('rooms.any'), counts.live + counts.gone]]),
    columns: (refresh) => [
      [t('rule.field.group'), (room) => h('a', { href: address('members', { group: room.group }) }, room.group), 'name'],
      [t('rooms.state'), state],
      [t('rooms.members'), members],
      [t('rooms.event'), (room) => time(room.last_event_at)],
      [t('rooms.compared'), compared, 'wide-cell'],
      [t('rules.actions'), (room) => compareButton(room.group, canWrite, refresh, 'quiet small'), 'row-actions'],
    ],
  });
}

// Rules may name a room long before Chat has it: then no event of it was ever received.
function state(room) {
  if (room.state === 'live') return badge('good', t('rooms.live'));
  return badge('rest', t(room.last_event_at ? 'rooms.destroyed' : 'rooms.unknown'));
}

// The states that members are in, each with a link to them.
function members(room) {
  const some = STATES.filter((name) => room.members[name] > 0);
  if (some.length === 0) return '–';
  return h('ul', { class: 'inline' }, some.map((name) => h('li', {},
    h('a', { href: address('members', { group: room.group, state: name }) }, t(`members.n.${name}`, { n: room.members[name] })))));
}

function compared({ sweep }) {
  const { drift } = sweep;
  const found = drift && DRIFT.filter((name) => drift[name] > 0);
  return h('div', { class: 'stack' },
    h('span', {}, time(sweep.at)),
    sweep.running && badge('rest', t('rooms.running')),
    sweep.requested_at && !sweep.running && badge('rest', t('rooms.asked')),
    found && h('small', {}, found.length
      ? found.map((name) => t(`drift.${name}`, { n: drift[name] })).join(' · ')
      : t('drift.nothing')),
    sweep.last_error && h('small', { class: 'wrong' }, icon('bad'), ' ',
      t('rooms.sweep.failed', { n: sweep.failures }), ' ', say(sweep.message)));
}

// A button that requests a comparison of the room.
export const compareButton = (group, canWrite, done, kind = 'quiet') => writeButton(canWrite, t('rooms.compare'), async () => {
  await attempt(() => write('POST', '/v1/rooms/resync', { group }), () => t('rooms.now.asked', { group }));
  await done();
}, { kind, name: `${t('rooms.compare')}: ${group}` });
