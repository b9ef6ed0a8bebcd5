// The page: settings, their controls, and what is drawn again when they change. The settings stand in the address after
// the #, so that a link shows the same page.

// What a setting may be; those of the command line are checked against the same numbers.
const limits = {
  length: [16, 8192],
  factor: [1, 64],
  base: [10, 1e7],
  head: [8, 128],
  fraction: [0.25, 1]
};
const choices = {
  encoding: Object.keys(encodings),
  axis: ['linear', 'log'],
  others: ['equal', 'random', 'none']
};
const logarithmic = ['length', 'factor', 'base'];

const presets = {
  'HoPE, small': {encoding: 'hope', base: 1e4, head: 64, length: 128, factor: 8},
  'HoPE\u2019s paper': {encoding: 'hope', base: 1e4, head: 64, length: 512, factor: 8},
  'RoPE': {encoding: 'rope', base: 1e4, head: 64, length: 512, factor: 8},
  'YaRN \u00d7 4': {encoding: 'yarn', base: 1e4, head: 128, length: 4096, factor: 4},
  'Llama 3 \u00d7 8': {encoding: 'llama3', base: 5e5, head: 128, length: 8192, factor: 8},
  'half turns': {encoding: 'p_rope', base: 1e4, head: 64, length: 128, factor: 8, fraction: 0.5},
};

const state = {
  encoding: 'hope',
  base: 1e4,
  head: 64,
  length: 128,
  factor: 8,
  fraction: 0.75,
  distance: 0,
  component: 12,
  axis: 'linear',
  others: 'equal',
  q: [0.5, 1.4],
  k: [-0.6, 1.2]
};

// ---- settings as text

const written = s => Object.entries(s).map(([key, value]) => `${key}=${value}`).join('&');

// Takes what is valid from "length=128&q=0,1", brings numbers within their limits and leaves out the rest.
function read(text) {
  for (const [key, value] of new URLSearchParams(text)) {
    const numbers = value.split(',').map(Number);
    if (!Object.hasOwn(state, key) || value.trim() === '') continue;
    if (choices[key]) {
      if (choices[key].includes(value)) state[key] = value;
    } else if (!numbers.every(Number.isFinite)) {
      continue;
    } else if (key === 'q' || key === 'k') {
      if (numbers.length === 2) state[key] = numbers.map(x => clamp(x, -reach, reach));
    } else if (numbers.length === 1) {
      state[key] = numbers[0];
    }
  }
  for (const [key, [low, high]] of Object.entries(limits)) state[key] = clamp(state[key], low, high);
  state.head = 2 * Math.round(state.head / 2);
  state.length = Math.round(state.length);
  state.distance = clamp(Math.round(state.distance), 0, Math.floor(state.factor * state.length));
  state.component = clamp(Math.round(state.component), 0, state.head / 2 - 1);
}

let waiting = 0;
function remember() {  // not at every pixel of a slider: browsers allow few changes of the address
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, '', '#' + written(state)), 300);
}

// ---- drawing

let movers = [];

function settingsLine() {
  const {encoding, length, factor, base, head, fraction, distance} = state, {name, usesFraction} = encodings[encoding];
  return `${name}${usesFraction ? `, p = ${fraction}` : ''}: L = ${grouped(length)} tokens, s = ${factor}, ` +
      `base ${grouped(base)}, head size ${head}, at distance ${grouped(Math.round(distance))}`;
}

function move() {
  byId('distance').value = state.distance;
  byId('distance_shown').textContent =
      `${grouped(Math.round(state.distance))} tokens` + (state.distance > state.length ? ' > L' : '');
  byId('paper').textContent = settingsLine();  // paper shows no controls
  movers.forEach(mover => mover(state.distance));
}

function change(changes) {
  Object.assign(state, changes);
  read('');
  draw();
  remember();
}

const choose = component => change({component});

function drawMaps(components) {
  const name = encodings[state.encoding].name, rope = ropeOf(state);
  byId('map_caption').textContent = name;
  drawScale(byId('scale'));
  for (const id of ['map_figure', 'unseen_figure']) byId(id).hidden = state.encoding === 'rope';
  const maps = [
    drawMap(byId('rope_map'), state, rope, 'RoPE: parts of the score by component and distance'),
    drawMap(byId('map'), state, components, `${name}: parts of the score by component and distance`)
  ];
  for (const {svg, rowAt} of maps)
    svg.addEventListener('click', event => {
      const box = svg.getBoundingClientRect();
      choose(Math.min(rowAt((event.clientY - box.top) * svg.viewBox.baseVal.height / box.height), state.head / 2 - 1));
    });
  for (const [id, encoding, of] of [['rope_unseen', 'RoPE', rope], ['unseen', name, components]]) {
    const count = showingNew(state, of).length;
    byId(`${id}_caption`).textContent = `${encoding}: ${count} of ${of.length} show new angles`;
    drawUnseen(byId(id), state, of, `${encoding}: share of the circle met in training, and beyond`);
  }
  return maps.map(map => map.move);
}

function drawScore(components) {
  const {component} = state, rope = ropeOf(state), pairs = vectors(state), {q, k} = state;
  const scores = of => distance => total(partsOf(of, pairs, distance)), both = [scores(rope), scores(components)];
  const parts = [rope, components].map(of => distance => part(of[component], q, k, distance));
  byId('plane_caption').textContent = `Component ${component}`;
  byId('parts_caption').textContent =
      'Parts of the score' + (state.encoding === 'rope' ? '' : ' (grey: stands still; short lines: RoPE\u2019s)');
  byId('component_caption').textContent = `Part of component ${component} against distance`;
  return [
    drawParts(byId('parts'), state, components, choose),
    compare(byId('curve'), state, {
      ropes: parts[0],
      chosen: parts[1],
      label: 'part of the score',
      height: 190,
      description: `part of component ${component} against distance`,
      ...range(state, parts)
    }),
    compare(byId('score'), state, {
      ropes: both[0],
      chosen: both[1],
      label: 'score',
      description: 'score of q and k against distance',
      ...range(state, both)
    }),
    distance => showIdentity(identity(state, components, distance)),
  ];
}

function showIdentity(lines) {
  byId('identity').replaceChildren(...lines.map(([number, what]) => {
    const line = document.createElement('li');
    line.append(Object.assign(document.createElement('b'), {textContent: number}), what);
    return line;
  }));
}

function drawNumbers(components) {
  const cell = text => Object.assign(document.createElement('td'), {textContent: text});
  const last = [];
  byId('numbers').replaceChildren(...components.map(c => {
    const row = document.createElement('tr'), part = cell('');
    last.push(part);
    row.append(
        cell(c.index), cell(c.frequency === 0 ? '0' : c.frequency.toPrecision(4)), cell(tokens(wavelength(c))),
        cell(fixed(state.length / wavelength(c), 2)), cell(fixed(state.length * state.factor / wavelength(c), 2)),
        cell(percent(showsNew(c, state) ? (angleRead(c, state) - angleTrained(c, state)) / turn : 0)), part);
    return row;
  }));
  return distance => components.forEach((c, i) => {
    last[i].textContent = fixed(lift(c)(distance), 3);
  });
}

// The hand that is dragged must stay the same element: only what depends on q and k is drawn again.
let plane = null, drawnScore = [], drawnRest = [];

function dragged(name, point) {
  state[name] = point;
  drawnScore = drawScore(componentsOf(state));
  movers = [...drawnRest, plane, ...drawnScore];
  move();
  remember();
}

function draw() {
  const focused = document.activeElement.id;
  const components = componentsOf(state), sums = [ropeOf(state), components].map(sumOfCosines);
  showSettings();
  drawnRest = [
    drawHands(state, components, choose),
    ...drawMaps(components),
    compare(byId('sum'), state, {
      ropes: sums[0],
      chosen: sums[1],
      label: 'sum of cos',
      description: 'sum of cos over the components, against distance',
      ...range(state, sums)
    }),
    drawNumbers(components),
  ];
  plane = drawPlane(byId('plane'), state, components[state.component], dragged);
  drawnScore = drawScore(components);
  movers = [...drawnRest, plane, ...drawnScore];
  move();
  if (focused && document.activeElement.id !== focused) byId(focused)?.focus({preventScroll: true});
}

// ---- controls

// The position of a slider, 0 to 1000, of a value.
const sliderOf = (key, value) => {
  const [low, high] = limits[key].map(logarithmic.includes(key) ? Math.log : x => x);
  return 1000 * ((logarithmic.includes(key) ? Math.log(value) : value) - low) / (high - low);
};
// Near values that people name: powers of two for L and s, two digits for the base.
function valueOf(key, slider) {
  const [low, high] = limits[key].map(logarithmic.includes(key) ? Math.log : x => x),
              x = low + slider / 1000 * (high - low);
  if (key === 'length' || key === 'factor') return 2 ** Math.round(x / Math.LN2);
  if (key === 'base') return Number(Math.exp(x).toPrecision(2));
  return key === 'head' ? 8 * Math.round(x / 8) : Math.round(x * 100) / 100;
}

function showSettings() {
  const {usesFraction} = encodings[state.encoding];
  for (const key of Object.keys(limits)) {
    byId(key).value = state[key];
    byId(`${key}_range`).value = sliderOf(key, state[key]);
    byId(`${key}_range`).setAttribute('aria-valuetext', state[key]);
  }
  byId('fraction').parentElement.classList.toggle('unused', !usesFraction);
  byId('encoding').value = state.encoding;
  byId('others').value = state.others;
  byId('distance').max = Math.floor(state.factor * state.length);
  for (const radio of document.getElementsByName('axis')) radio.checked = radio.value === state.axis;
  byId('component').replaceChildren(...Array.from({length: state.head / 2}, (_, i) => new Option(i, i)));
  byId('component').value = state.component;
  for (const entry of byId('descriptions').children)
    entry.classList.toggle('current', entry.dataset.encoding === state.encoding);
}

function connect() {
  for (const [key, [low, high]] of Object.entries(limits)) {
    const slider = byId(`${key}_range`), number = byId(key);
    Object.assign(slider, {min: 0, max: 1000, step: 'any'});
    Object.assign(number, {min: low, max: high});
    slider.addEventListener('input', () => change({[key]: valueOf(key, Number(slider.value))}));
    slider.addEventListener('keydown', event => {  // a step of a slider is the next value, however small that step is
      const sign = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
      if (!sign) return;
      event.preventDefault();
      let at = sliderOf(key, state[key]);
      do at += sign * 5;
      while (at >= 0 && at <= 1000 && sign * (valueOf(key, at) - state[key]) <= 0);
      change({[key]: valueOf(key, clamp(at, 0, 1000))});
    });
    number.addEventListener('change', () => {
      const value = Number(number.value);
      change(number.value !== '' && Number.isFinite(value) ? {[key]: value} : {});
    });
  }
  for (const [name, {name: shown}] of Object.entries(encodings)) byId('encoding').append(new Option(shown, name));
  for (const [name, settings] of Object.entries(presets)) {
    const button = Object.assign(document.createElement('button'), {type: 'button', textContent: name});
    button.addEventListener('click', () => change({...settings, distance: 2 * settings.length}));
    byId('presets').append(button);
  }
  for (const [name, {name: shown, says, source}] of Object.entries(encodings)) {
    const entry = document.createElement('div');
    entry.dataset.encoding = name;
    entry.append(
        Object.assign(document.createElement('dt'), {textContent: shown}),
        Object.assign(document.createElement('dd'), {textContent: says + ' '}));
    entry.lastChild.append(Object.assign(document.createElement('small'), {textContent: source}));
    byId('descriptions').append(entry);
  }
  byId('encoding').addEventListener('change', event => change({encoding: event.target.value}));
  byId('others').addEventListener('change', event => change({others: event.target.value}));
  byId('component').addEventListener('change', event => choose(Number(event.target.value)));
  byId('reset').addEventListener('click', () => change({q: [0, 1], k: [0, 1]}));
  for (const radio of document.getElementsByName('axis'))
    radio.addEventListener('change', () => change({axis: radio.value}));
  byId('distance').addEventListener('input', event => {
    state.distance = Number(event.target.value);
    move();
    remember();
  });
  byId('play').addEventListener('click', () => play(!playing));
}

let playing = false;
function play(on) {
  playing = on;
  byId('play').setAttribute('aria-pressed', on);
  byId('play').textContent = on ? 'Pause' : 'Play';
  let last = performance.now();
  const end = Math.floor(state.factor * state.length);
  if (on && state.distance >= end) state.distance = 0;
  const step = now => {
    if (!playing) return;
    const most = state.factor * state.length, speed = Number(byId('speed').value) || most / 20;
    state.distance = Math.min(most, state.distance + speed * Math.max(0, now - last) / 1000);
    last = now;
    if (state.distance >= most) play(false);
    move();
    requestAnimationFrame(step);
  };
  if (on) return requestAnimationFrame(step);
  state.distance = clamp(Math.round(state.distance), 0, Math.floor(state.factor * state.length));
  move();
  remember();
}

hatching();
read(document.body.dataset.start);
read(location.hash.slice(1));
connect();
draw();
addEventListener('hashchange', () => {
  read(location.hash.slice(1));
  draw();
});
let shownWidth = innerWidth;
addEventListener('resize', () => {
  if (innerWidth !== shownWidth) draw();
  shownWidth = innerWidth;
});
darkScheme.addEventListener('change', draw);
