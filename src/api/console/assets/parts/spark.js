// A small chart of the last two minutes, with its range in words for screen readers.

import { svg } from '../dom.js';

const [WIDTH, HEIGHT, POINTS] = [240, 48, 120];

// `values` end now and are null where nothing is known. `limit` adds a line.
export function spark(values, label, limit) {
  const known = values.filter((value) => value !== null);
  const top = Math.max(...known, limit ?? 0, 1e-9) * 1.05;
  const x = (index) => WIDTH - ((values.length - 1 - index) * WIDTH) / (POINTS - 1);
  const y = (value) => HEIGHT - 1 - (value / top) * (HEIGHT - 3);
  const line = pieces(values).map((piece) =>
    piece.map(([index, value], at) => `${at ? 'L' : 'M'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join(''));
  const area = pieces(values).map((piece) =>
    `M${x(piece[0][0]).toFixed(1)} ${HEIGHT}${piece.map(([index, value]) => `L${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join('')}L${x(piece.at(-1)[0]).toFixed(1)} ${HEIGHT}Z`);
  return svg('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    svg('path', { class: 'area', d: area.join('') }),
    limit !== undefined && svg('path', { class: 'limit', d: `M0 ${y(limit).toFixed(1)}H${WIDTH}` }),
    svg('path', { class: 'line', d: line.join('') }));
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
