// A chart of a figure over time: the highest value and the times on its axes, the value under the
// pointer, and its range in words for screen readers.

import { h, show, svg } from '../dom.js';

const [WIDTH, HEIGHT] = [240, 64];

// `values` end now, one for each `step` seconds, and are null where nothing is known; `length` is how
// many the chart has room for. `limit` adds a line. `words` formats a value, `clock` a time.
export function chart({ values, length, step, label, limit, words, clock }) {
  const known = values.filter((value) => value !== null);
  const top = Math.max(...known, limit ?? 0, 1e-9) * 1.05;
  const x = (index) => WIDTH - ((values.length - 1 - index) * WIDTH) / (length - 1);
  const y = (value) => HEIGHT - 1 - (value / top) * (HEIGHT - 3);
  const point = ([index, value]) => `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
  const runs = pieces(values);
  const line = runs.map((run) => `M${run.map(point).join('L')}`);
  const area = runs.map((run) => `M${x(run[0][0]).toFixed(1)} ${HEIGHT}L${run.map(point).join('L')}L${x(run.at(-1)[0]).toFixed(1)} ${HEIGHT}Z`);
  const cursor = svg('path', { class: 'cursor' });
  const picture = svg('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    svg('path', { class: 'area', d: area.join('') }),
    limit !== undefined && svg('path', { class: 'limit', d: `M0 ${y(limit).toFixed(1)}H${WIDTH}` }),
    svg('path', { class: 'line', d: line.join('') }),
    cursor);
  const ago = (index) => clock(new Date(Date.now() - (values.length - 1 - index) * step * 1000));
  const from = h('span', {}, ago(values.length - length));
  const under = h('span', { class: 'under-pointer' });
  const leave = () => {
    cursor.setAttribute('d', '');
    show(under);
  };
  const point_at = (event) => {
    const box = picture.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width;
    const index = Math.round(values.length - 1 - (1 - place) * (length - 1));
    const value = values[index];
    if (value === undefined || value === null) return leave();
    cursor.setAttribute('d', `M${x(index).toFixed(1)} 0V${HEIGHT}`);
    return show(under, `${ago(index)} · ${words(value)}`);
  };
  const node = h('div', { class: 'chart', on: { pointermove: point_at, pointerleave: leave } },
    h('span', { class: 'top-value', 'aria-hidden': 'true' }, known.length ? words(top / 1.05) : ''),
    picture,
    h('div', { class: 'axis', 'aria-hidden': 'true' }, from, under, h('span', {}, clock(new Date()))));
  return node;
}

// The runs of known values, with their indexes.
function pieces(values) {
  const found = [];
  values.forEach((value, index) => {
    if (value === null) return;
    const last = found.at(-1);
    if (last && last.at(-1)[0] === index - 1) last.push([index, value]);
    else found.push([[index, value]]);
  });
  return found;
}
