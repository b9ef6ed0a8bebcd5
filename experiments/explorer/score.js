// One score: q and k by component, and what the encoding makes of them at a distance.

// Two normal numbers that are the same in every visit (a hash of the component and the side makes two uniform ones).
function drawn(index, side) {
  const uniform = salt => {
    let x = Math.imul(index * 4 + side * 2 + salt + 1, 0x9e3779b1);
    x = Math.imul(x ^ x >>> 16, 0x85ebca6b);
    x = Math.imul(x ^ x >>> 13, 0xc2b2ae35);
    return ((x ^ x >>> 16) >>> 0) / 2 ** 32 + 2 ** -33;
  };
  const length = Math.sqrt(-2 * Math.log(uniform(0))), angle = turn * uniform(1);
  return [length * Math.cos(angle), length * Math.sin(angle)].map(x => Math.round(x * 1000) / 1000);
}

// q and k of all components, [x, y] each: the chosen one's are dragged, the others' a preset.
function vectors(s) {
  return Array.from({length: s.head / 2}, (_, index) => {
    if (index === s.component) return {q: s.q, k: s.k};
    if (s.others === 'random') return {q: drawn(index, 0), k: drawn(index, 1)};
    const same = s.others === 'equal' ? [0, 1] : [0, 0];
    return {q: same, k: same};
  });
}

const partsOf = (components, pairs, distance) => components.map((c, i) => part(c, pairs[i].q, pairs[i].k, distance));
const total = numbers => numbers.reduce((sum, x) => sum + x, 0);

// The score as a model computes it: q and k are turned by their own positions, then multiplied channel by channel.
function scoreOfTurned(components, pairs, qPosition, kPosition) {
  const turned = (c, [x, y], position) => {
    const angle = c.frequency * position, cos = Math.cos(angle), sin = Math.sin(angle);
    return [x * cos - y * sin, x * sin + y * cos];
  };
  return total(components.map((c, i) => {
    const q = turned(c, pairs[i].q, qPosition), k = turned(c, pairs[i].k, kPosition);
    return c.gain * c.decay ** (qPosition - kPosition) * (q[0] * k[0] + q[1] * k[1]);
  }));
}

const reach = 2;  // of the plane, in units of the vectors

const turnedBack = ([x, y], angle) =>
    [x * Math.cos(angle) + y * Math.sin(angle), y * Math.cos(angle) - x * Math.sin(angle)];

// The plane of the chosen component with q, k, and k as q sees it. `moved(name, [x, y])` is called while dragging.
function drawPlane(container, s, component, moved) {
  const size = 300, unit = size / 2 / reach / 1.08;
  const toPixels = ([x, y]) => [size / 2 + x * unit, size / 2 - y * unit];
  const svg = drawing(container, size, size, `q and k of component ${s.component} in its plane`);
  svg.setAttribute('role', 'group');
  const ticks = [-2, -1, 1, 2];
  for (const tick of ticks) {
    const [x, y] = toPixels([tick, tick]);
    add(svg, 'path', {d: `M${x} 0V${size}M0 ${y}H${size}`, stroke: 'var(--grid)'});
  }
  add(svg, 'path', {d: `M${size / 2} 0V${size}M0 ${size / 2}H${size}`, stroke: 'var(--muted)'});
  add(svg, 'circle', {cx: size / 2, cy: size / 2, r: unit, fill: 'none', stroke: 'var(--edge)'});
  const arc = add(svg, 'path', {fill: 'none', stroke: 'var(--muted)', 'stroke-width': 1.5, 'stroke-dasharray': '3 3'});
  const ghost = add(svg, 'path', {stroke: 'var(--rope)', 'stroke-width': 2, 'stroke-dasharray': '4 3'});
  const turnedLine = add(svg, 'path', {stroke: 'var(--k)', 'stroke-width': 4, 'stroke-linecap': 'round'});
  const turnedEnd = add(svg, 'circle', {r: 5, fill: 'var(--k)'});
  const turnedName = add(svg, 'text', {class: 'strong on_ground'}, 'k, turned');
  const handle = (name, color, dashes) => {
    const group = add(svg, 'g', {class: 'handle', id: `handle_${name}`, tabindex: 0, role: 'slider',
      'aria-label': `${name} of component ${s.component}; arrow keys move it`, 'aria-valuemin': -reach, 'aria-valuemax': reach});
    const line = add(group, 'path', {stroke: color, 'stroke-width': dashes ? 2 : 4, 'stroke-dasharray': dashes});
    const grip = add(group, 'circle', {r: dashes ? 8 : 11, fill: color, stroke: 'var(--paper)', 'stroke-width': 2, class: 'grip'});
    const label = add(group, 'text', {class: 'strong on_ground'}, name);
    const put = point => moved(name, point.map(x => clamp(Math.round(x * 100) / 100, -reach, reach)));
    group.addEventListener('pointerdown', event => {
      group.setPointerCapture(event.pointerId);
      event.preventDefault();
      group.focus({preventScroll: true});
    });
    group.addEventListener('pointermove', event => {
      if (!group.hasPointerCapture(event.pointerId)) return;
      const box = svg.getBoundingClientRect(), scale = size / box.width;
      put([((event.clientX - box.left) * scale - size / 2) / unit, (size / 2 - (event.clientY - box.top) * scale) / unit]);
    });
    group.addEventListener('keydown', event => {
      const step = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1]}[event.key];
      if (!step) return;
      event.preventDefault();
      put([s[name][0] + step[0], s[name][1] + step[1]]);
    });
    return () => {
      const [x, y] = toPixels(s[name]);
      line.setAttribute('d', path([[size / 2, size / 2], [x, y]]));
      grip.setAttribute('cx', rounded(x));
      grip.setAttribute('cy', rounded(y));
      place(label, [x, y], dashes ? -13 : 15);
      group.setAttribute('aria-valuetext', s[name].map(v => fixed(v, 2)).join(', '));
      group.setAttribute('aria-valuenow', s[name][0]);
    };
  };
  // A name `away` to the right of an arrow's end, to the left if negative; inside the drawing.
  const place = (label, [x, y], away) => {
    const right = away > 0 ? x < size - 75 : x < 30;
    label.setAttribute('x', rounded(right ? x + Math.abs(away) : x - Math.abs(away)));
    label.setAttribute('text-anchor', right ? 'start' : 'end');
    label.setAttribute('y', rounded(clamp(y + 5, 14, size - 6)));
  };
  const moveQ = handle('q', 'var(--chosen)', ''), moveK = handle('k', 'var(--k)', '5 4');
  return distance => {
    moveQ();
    moveK();
    const angle = component.frequency * distance, [x, y] = s.k, length = Math.hypot(x, y), start = Math.atan2(y, x);
    const [u, v] = toPixels(turnedBack(s.k, angle));
    const ropes = ropeOf(s)[s.component].frequency * distance;
    if (ropes !== angle) ghost.setAttribute('d', path([[size / 2, size / 2], toPixels(turnedBack(s.k, ropes))]));
    turnedLine.setAttribute('d', path([[size / 2, size / 2], [u, v]]));
    turnedEnd.setAttribute('cx', rounded(u));
    turnedEnd.setAttribute('cy', rounded(v));
    place(turnedName, [u, v], 10);
    const swept = Math.min(angle, turn), steps = Math.ceil(swept * 12);
    const points = Array.from({length: steps + 1}, (_, i) => start - swept * i / Math.max(1, steps));
    arc.setAttribute('d', path(points.map(a => toPixels([0.6 * length * Math.cos(a), 0.6 * length * Math.sin(a)]))));
  };
}

// A bar for each component's part, those of RoPE as short lines; returns what moves them to a distance.
function drawParts(container, s, components, choose) {
  const rope = ropeOf(s), pairs = vectors(s), width = Math.max(280, container.clientWidth), height = 300;
  const left = 40, right = width - 6, top = 14, bottom = height - 40, step = (right - left) / components.length;
  const products = pairs.map(({q, k}, i) => Math.hypot(...q) * Math.hypot(...k) * Math.max(1, components[i].gain));
  const largest = 2 ** Math.ceil(Math.log2(Math.max(1, ...products)) - 1e-9);  // stays while a hand moves a little
  const yOf = value => (top + bottom) / 2 - value / largest * (bottom - top) / 2;
  const svg = drawing(container, width, height, 'part of the score by component');
  const tick = stepOf(2 * largest, 6);
  for (let value = -Math.floor(largest / tick) * tick; value <= largest; value += tick) {
    add(svg, 'path', {d: `M${left} ${rounded(yOf(value))}H${right}`, stroke: 'var(--grid)'});
    add(svg, 'text', {x: left - 6, y: yOf(value) + 4, 'text-anchor': 'end'}, fixed(value, tick < 1 ? 1 : 0));
  }
  const every = Math.max(1, stepOf(components.length, Math.floor((right - left) / 34)));
  const bars = components.map(c => {
    const x = left + step * c.index;
    const bar = add(svg, 'rect', {x: rounded(x + step * 0.12), width: rounded(step * 0.76), class: 'part',
      fill: c.frequency === 0 ? 'var(--muted)' : 'var(--chosen)', opacity: c.index === s.component ? 1 : 0.6});
    if (c.index % every === 0)
      add(svg, 'text', {x: rounded(x + step / 2), y: bottom + 18, 'text-anchor': 'middle',
        class: c.index === s.component ? 'strong' : ''}, c.index);
    const line = add(svg, 'path', {stroke: 'var(--rope)', 'stroke-width': 2.5});
    const target = add(svg, 'rect', {x: rounded(x), y: top, width: rounded(step), height: bottom - top, fill: 'transparent'});
    target.addEventListener('click', () => choose(c.index));
    return {bar, line, x};
  });
  add(svg, 'path', {d: `M${left} ${rounded(yOf(0))}H${right}`, stroke: 'var(--muted)'});
  add(svg, 'text', {x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle'}, 'component');
  return distance => {
    const now = partsOf(components, pairs, distance), then = partsOf(rope, pairs, distance);
    bars.forEach(({bar, line, x}, i) => {
      bar.setAttribute('y', rounded(Math.min(yOf(0), yOf(now[i]))));
      bar.setAttribute('height', rounded(Math.abs(yOf(now[i]) - yOf(0))));
      if (s.encoding !== 'rope') line.setAttribute('d', `M${rounded(x)} ${rounded(yOf(then[i]))}h${rounded(step)}`);
    });
  };
}

// The lines below the bars: [number, what it is].
function identity(s, components, distance) {
  const pairs = vectors(s), at = Math.round(distance);
  const lines = [
    [total(partsOf(components, pairs, at)), `the sum of the ${components.length} parts at distance ${grouped(at)}`],
    [scoreOfTurned(components, pairs, 1000 + at, 1000),
      `the score: q turned for position ${grouped(1000 + at)}, times k turned for position ${grouped(1000)}`],
  ];
  if (s.encoding !== 'rope') lines.push([total(partsOf(ropeOf(s), pairs, at)), 'RoPE\u2019s score, to compare']);
  return lines.map(([number, what]) => [fixed(number, 3), what]);
}
