// A card for each component: a clock face whose hand turns with the distance, and its curve over distance.

const radius = 40, middle = 48;  // of the clock, in its drawing of 96 by 96

// Where the hand's tip is: 12 o'clock at angle 0, then clockwise.
const tip = (angle, length = radius) => [middle + length * Math.sin(angle), middle - length * Math.cos(angle)];

function sector(from, to) {
  if (to - from > turn - 1e-6) return `M${middle - radius} ${middle}a${radius} ${radius} 0 1 1 0 .01z`;
  const large = to - from > Math.PI ? 1 : 0, [x, y] = tip(from).map(rounded), [u, v] = tip(to).map(rounded);
  return `M${middle} ${middle}L${x} ${y}A${radius} ${radius} 0 ${large} 1 ${u} ${v}z`;
}

// The hatching for what was never seen, once for the page.
function hatching() {
  const svg = add(document.body, 'svg', {width: 0, height: 0, style: 'position:absolute', 'aria-hidden': 'true'});
  const pattern = id =>
      add(add(svg, 'defs'), 'pattern',
          {id, width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)'});
  add(pattern('hatch'), 'rect', {width: 2.5, height: 6, fill: 'var(--unseen)'});
  const onColors = pattern('hatch_map');  // edged, to be seen on any colour
  add(onColors, 'rect', {width: 3.5, height: 6, fill: 'var(--paper)', opacity: 0.75});
  add(onColors, 'rect', {x: 1, width: 1.5, height: 6, fill: 'var(--unseen)'});
}

// Whether training never shows the angle of this distance.
function isUnseen(component, s, distance) {
  return showsNew(component, s) && component.frequency * distance % turn > angleTrained(component, s);
}

function handText(component, s) {
  if (component.frequency !== 0) return `\u03bb ${tokens(wavelength(component))} tokens`;
  return `stands still:\n${encodings[s.encoding].why(component, s)}`;
}

function clock(card, component, rope, s) {
  const svg = add(card, 'svg', {class: 'clock', viewBox: '0 0 96 96', 'aria-hidden': 'true'});
  const still = component.frequency === 0;
  const seen = angleTrained(component, s);
  if (!still) add(svg, 'path', {d: sector(0, seen), fill: 'var(--seen)', opacity: 0.4, class: 'arc_seen'});
  if (showsNew(component, s))
    add(svg, 'path', {d: sector(seen, angleRead(component, s)), fill: 'url(#hatch)', class: 'arc_unseen'});
  add(svg, 'circle', {cx: middle, cy: middle, r: radius, fill: still ? 'var(--grid)' : 'none', stroke: 'var(--edge)'});
  for (let hour = 0; hour < 12; ++hour)
    add(svg, 'path', {
      d: path([tip(hour * turn / 12, radius), tip(hour * turn / 12, radius - (hour % 3 ? 3 : 6))]),
      stroke: 'var(--muted)'
    });
  const differs = rope.frequency !== component.frequency;
  const ghost =
      differs ? add(svg, 'path', {stroke: 'var(--rope)', 'stroke-width': 1.5, 'stroke-dasharray': '4 3'}) : null;
  const hand = add(svg, 'path', {'stroke-width': 3, 'stroke-linecap': 'round', class: 'pointer'});
  const end = add(svg, 'circle', {r: 4});
  return distance => {
    const angle = component.frequency * distance, unseen = isUnseen(component, s, distance);
    const [x, y] = tip(angle, radius - 3), color = still ? 'var(--muted)' : unseen ? 'var(--ink)' : 'var(--chosen)';
    hand.setAttribute('d', path([[middle, middle], [x, y]]));
    hand.setAttribute('stroke', color);
    end.setAttribute('cx', rounded(x));
    end.setAttribute('cy', rounded(y));
    end.setAttribute('fill', color);
    if (ghost) ghost.setAttribute('d', path([[middle, middle], tip(rope.frequency * distance, radius - 3)]));
  };
}

// The height of the tip over distance: for each column of pixels the band between its lowest and highest.
function band(component, axis, yOf) {
  const above = [], below = [];
  for (let x = axis.left; x <= axis.right; ++x) {
    const from = component.frequency * axis.distanceAt(Math.max(axis.left, x - 0.5));
    const to = component.frequency * axis.distanceAt(Math.min(axis.right, x + 0.5));
    const passes = angle => Math.floor((to - angle) / turn) > Math.floor((from - angle) / turn);
    const values = [Math.cos(from), Math.cos(to)];
    above.push([x, yOf(passes(0) ? 1 : Math.max(...values)) - 0.6]);
    below.push([x, yOf(passes(Math.PI) ? -1 : Math.min(...values)) + 0.6]);
  }
  return path([...above, ...below.reverse()]) + 'z';
}

function smallCurve(card, component, s) {
  const width = 120, height = 34, yOf = value => height / 2 - value * (height / 2 - 4);
  const svg = add(card, 'svg', {viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true'});
  const axis = distanceAxis(s.factor * s.length, s.axis === 'log', 1, width - 1);
  add(svg, 'path', {d: `M1 ${height / 2}H${width - 1}`, stroke: 'var(--grid)'});
  add(svg, 'path', {d: band(component, axis, yOf), fill: component.frequency === 0 ? 'var(--muted)' : 'var(--chosen)'});
  if (s.factor > 1) add(svg, 'path', {d: `M${rounded(axis.at(s.length))} 0V${height}`, stroke: 'var(--ink)'});
  const dot = add(svg, 'circle', {r: 3.5, fill: 'var(--paper)', stroke: 'var(--ink)', 'stroke-width': 1.5});
  return distance => {
    dot.setAttribute('cx', rounded(axis.at(distance)));
    dot.setAttribute('cy', rounded(yOf(Math.cos(component.frequency * distance))));
  };
}

// Draws the cards; returns what moves them to a distance.
function drawHands(s, components, choose) {
  const rope = ropeOf(s), movers = [];
  byId('hands').replaceChildren(...components.map(component => {
    const card = document.createElement('button');
    card.type = 'button';
    card.className = 'hand';
    card.id = `hand_${component.index}`;
    card.setAttribute('aria-pressed', component.index === s.component);
    const name = document.createElement('b'), about = document.createElement('span');
    name.textContent = `component ${component.index}`;
    about.textContent = handText(component, s);
    card.append(name);
    movers.push(clock(card, component, rope[component.index], s));
    card.append(about);
    movers.push(smallCurve(card, component, s));
    card.addEventListener('click', () => choose(component.index));
    return card;
  }));
  byId('summary').textContent = summary(s, components);
  return distance => movers.forEach(move => move(distance));
}

// "Components 11 to 31" of ascending indices.
function listed(indices) {
  const runs = [];
  for (const index of indices) {
    const run = runs.at(-1);
    if (run && run[1] === index - 1)
      run[1] = index;
    else
      runs.push([index, index]);
  }
  const text = runs.map(([from, to]) => from === to ? `${from}` : `${from} to ${to}`).join(', ');
  return (indices.length === 1 ? 'Component ' : 'Components ') + text;
}

const stopped = components => components.filter(c => c.frequency === 0);
const showingNew = (s, components) => components.filter(c => showsNew(c, s)).map(c => c.index);

function summary(s, components) {
  const turning = components.length - stopped(components).length, fresh = showingNew(s, components);
  const sentences = [`${encodings[s.encoding].name}: ${turning} of ${components.length} components turn.`];
  if (encodings[s.encoding].readsRope) sentences.push('It reads with a model that was trained with RoPE.');
  if (s.encoding === 'hope' && turning < components.length)
    sentences.push(
        `${listed(stopped(components).map(c => c.index))} stand${components.length - turning > 1 ? '' : 's'} ` +
        `still: the wavelength is longer than L = ${grouped(s.length)} tokens.`);
  if (s.factor === 1)
    sentences.push('No text is longer than L.');
  else
    sentences.push(
        fresh.length === 0 ?
            'No angle is new beyond L.' :
            `${listed(fresh)} show${fresh.length > 1 ? '' : 's'} angles beyond L that training never showed.`);
  return sentences.join(' ');
}
