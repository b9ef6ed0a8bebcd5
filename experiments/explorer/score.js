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

const planeSize = 300, planeUnit = planeSize / 2 / reach / 1.08;  // pixels
const toPixels = ([x, y]) => [planeSize / 2 + x * planeUnit, planeSize / 2 - y * planeUnit];
const arrow = point => path([toPixels([0, 0]), toPixels(point)]);

// A name `away` to the right of an arrow's end, to the left if negative, unless it would need more than that room.
function place(label, point, away, room) {
  const [x, y] = toPixels(point), right = away > 0 ? x < planeSize - room : x < room;
  label.setAttribute('x', rounded(right ? x + Math.abs(away) : x - Math.abs(away)));
  label.setAttribute('text-anchor', right ? 'start' : 'end');
  label.setAttribute('y', rounded(clamp(y + 5, 14, planeSize - 6)));
}

// q or k of the chosen component, to be dragged or moved with the arrow keys; `moved(name, [x, y])` is told. Returns
// what draws it where the settings say.
function dragHandle(svg, s, name, {color, dashes, grip, away}, moved) {
  const group = add(svg, 'g', {
    class: 'handle',
    id: `handle_${name}`,
    tabindex: 0,
    role: 'slider',
    'aria-label': `${name} of component ${s.component}; arrow keys move it`,
    'aria-valuemin': -reach,
    'aria-valuemax': reach
  });
  const line = add(group, 'path', {stroke: color, 'stroke-width': dashes ? 2 : 4, 'stroke-dasharray': dashes});
  const end = add(group, 'circle', {r: grip, fill: color, stroke: 'var(--paper)', 'stroke-width': 2, class: 'grip'});
  const label = add(group, 'text', {class: 'strong on_ground'}, name);
  const put = point => moved(name, point.map(x => clamp(Math.round(x * 100) / 100, -reach, reach)));
  group.addEventListener('pointerdown', event => {
    group.setPointerCapture(event.pointerId);
    event.preventDefault();
    group.focus({preventScroll: true});
  });
  group.addEventListener('pointermove', event => {
    if (!group.hasPointerCapture(event.pointerId)) return;
    const box = svg.getBoundingClientRect(), scale = planeSize / box.width / planeUnit;
    put([
      (event.clientX - box.left - box.width / 2) * scale,
      (box.top + box.height / 2 - event.clientY) * scale,
    ]);
  });
  group.addEventListener('keydown', event => {
    const step = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1]}[event.key];
    if (!step) return;
    event.preventDefault();
    put([s[name][0] + step[0], s[name][1] + step[1]]);
  });
  return () => {
    const [x, y] = toPixels(s[name]).map(rounded);
    line.setAttribute('d', arrow(s[name]));
    end.setAttribute('cx', x);
    end.setAttribute('cy', y);
    place(label, s[name], away, 30);
    group.setAttribute('aria-valuenow', s[name][0]);
    group.setAttribute('aria-valuetext', s[name].map(v => fixed(v, 2)).join(', '));
  };
}

// The plane of the chosen component with q, k, and k as q sees it from a distance.
function drawPlane(container, s, component, moved) {
  const svg = drawing(container, planeSize, planeSize, `q and k of component ${s.component} in its plane`);
  svg.setAttribute('role', 'group');
  for (const tick of [-2, -1, 0, 1, 2]) {
    const [x, y] = toPixels([tick, tick]).map(rounded);
    const d = `M${x} 0V${planeSize}M0 ${y}H${planeSize}`;
    add(svg, 'path', {d, stroke: tick === 0 ? 'var(--muted)' : 'var(--grid)'});
  }
  add(svg, 'circle', {cx: planeSize / 2, cy: planeSize / 2, r: planeUnit, fill: 'none', stroke: 'var(--edge)'});
  const arc = add(svg, 'path', {fill: 'none', stroke: 'var(--muted)', 'stroke-width': 1.5, 'stroke-dasharray': '3 3'});
  const ghost = add(svg, 'path', {stroke: 'var(--rope)', 'stroke-width': 2, 'stroke-dasharray': '4 3'});
  const turnedLine = add(svg, 'path', {stroke: 'var(--k)', 'stroke-width': 4, 'stroke-linecap': 'round'});
  const turnedEnd = add(svg, 'circle', {r: 5, fill: 'var(--k)'});
  const turnedName = add(svg, 'text', {class: 'strong on_ground'}, 'k, turned');
  const handles = [
    dragHandle(svg, s, 'q', {color: 'var(--chosen)', dashes: '', grip: 11, away: 15}, moved),
    dragHandle(svg, s, 'k', {color: 'var(--k)', dashes: '5 4', grip: 8, away: -13}, moved),
  ];
  const rope = ropeOf(s)[s.component];
  return distance => {
    for (const draw of handles) draw();
    const angle = component.frequency * distance, turned = turnedBack(s.k, angle),
          [x, y] = toPixels(turned).map(rounded);
    turnedLine.setAttribute('d', arrow(turned));
    turnedEnd.setAttribute('cx', x);
    turnedEnd.setAttribute('cy', y);
    place(turnedName, turned, 10, 75);
    if (rope.frequency !== component.frequency)
      ghost.setAttribute('d', arrow(turnedBack(s.k, rope.frequency * distance)));
    const steps = Math.max(1, Math.ceil(Math.min(angle, turn) * 12)), inner = s.k.map(v => 0.6 * v);
    const swept = Array.from({length: steps + 1}, (_, i) => turnedBack(inner, Math.min(angle, turn) * i / steps));
    arc.setAttribute('d', path(swept.map(toPixels)));
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
    const bar = add(svg, 'rect', {
      x: rounded(x + step * 0.12),
      width: rounded(step * 0.76),
      class: 'part',
      fill: c.frequency === 0 ? 'var(--muted)' : 'var(--chosen)',
      opacity: c.index === s.component ? 1 : 0.6
    });
    if (c.index % every === 0)
      add(svg, 'text', {
        x: rounded(x + step / 2),
        y: bottom + 18,
        'text-anchor': 'middle',
        class: c.index === s.component ? 'strong' : ''
      },
          c.index);
    const line = add(svg, 'path', {stroke: 'var(--rope)', 'stroke-width': 2.5});
    const target =
        add(svg, 'rect', {x: rounded(x), y: top, width: rounded(step), height: bottom - top, fill: 'transparent'});
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
    [
      scoreOfTurned(components, pairs, 1000 + at, 1000),
      `the score: q turned for position ${grouped(1000 + at)}, times k turned for position ${grouped(1000)}`
    ],
  ];
  if (s.encoding !== 'rope') lines.push([total(partsOf(ropeOf(s), pairs, at)), 'RoPE\u2019s score, to compare']);
  return lines.map(([number, what]) => [fixed(number, 3), what]);
}
