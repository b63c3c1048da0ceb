// An explanation in words: the verdict first, then the events in order, with times.

import { listed } from './marks.js';

const sameMarks = (one, other) => one.length === other.length && one.every((mark) => other.includes(mark));

// The verdict: a tone and the key of a sentence, with its values.
export function verdict(facts) {
  const { member, room, desired, pending } = facts;
  const marks = listed(desired);
  if (room.state === 'gone') return ['rest', wasThere(room) ? 'story.room.gone' : 'story.room.unknown'];
  if (!member) {
    if (desired.length) return ['rest', 'story.unheard', { marks }];
    return ['rest', named(facts) ? 'story.idle' : 'story.unnamed'];
  }
  if (member.state === 'failed') return ['bad', 'story.failed'];
  if (member.state === 'pending') {
    if (pending?.paused) return ['bad', 'story.paused'];
    if (member.waits_for.length) return ['warn', 'story.full', { marks: listed(member.waits_for), n: member.waits_for.length }];
    return ['warn', pending?.last_error ? 'story.retrying' : 'story.pending', { marks }];
  }
  if (member.presence === 'present') {
    if (sameMarks(member.marks, desired)) return desired.length ? ['good', 'story.kept', { marks }] : ['good', 'story.none'];
    return ['warn', 'story.differs', { marks, held: listed(member.marks) || '–' }];
  }
  if (!desired.length) return ['rest', named(facts) ? 'story.idle' : 'story.unnamed'];
  return ['rest', member.presence === 'absent' ? 'story.absent' : 'story.unheard', { marks }];
}

// Rules may name a room long before Chat has it; then no callback of it was ever received.
const wasThere = (room) => room.last_event_at !== null;

const named = ({ near }) => near.some(({ reason }) => ['disabled', 'not-started', 'ended'].includes(reason));

// Past events, oldest first, then the next attempt: { at, key, values, quote?, tone? }.
export function chapters({ member, pending, room, at }) {
  const events = [];
  const add = (when, key, values, more) => when && events.push({ at: when, key, values, ...more });
  if (member) {
    const account = { account: member.account };
    add(member.event_at ?? member.heard_at, `story.event.${member.event ?? 'unknown'}`, account);
    // What Chat confirmed then; a leave removes it from `marks`, which comes as an event of its own.
    const confirmed = member.confirmed_marks;
    add(member.confirmed_at, confirmed.length ? 'story.confirmed' : 'story.confirmed.none', { marks: listed(confirmed) }, { tone: 'good' });
    if (!(pending && new Date(pending.next_attempt_at) > new Date(at) && !pending.since)) {
      add(member.pending_since, 'story.due', account);
    }
    add(member.failed_at, 'story.stopped', { n: member.tries }, { tone: 'bad', quote: member.message });
  }
  if (wasThere(room)) add(room.gone_at, 'story.destroyed', {}, { tone: 'rest' });
  events.sort((one, other) => new Date(one.at) - new Date(other.at));
  if (pending) {
    const failing = pending.since && pending.last_error && member.tries > 0;
    const key = pending.paused ? 'story.next.paused' : pending.since ? 'story.next' : 'story.next.later';
    add(pending.next_attempt_at, failing ? 'story.next.failed' : key, { n: member.tries },
      { tone: 'warn', quote: pending.message });
  }
  return events;
}
