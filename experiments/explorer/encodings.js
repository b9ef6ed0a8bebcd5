// What an encoding makes of the components of a head: the same formulas as nn/positional/encodings, which the tests
// compare with these. A component has
//   frequency  rad per token; 0 stands still
//   trained    the frequency that it turned with in training: its own, or RoPE's where the encoding is for reading with
//              a model that was trained with RoPE
//   gain       multiplies its part of the score: of q's and k's tables together
//   decay      its part of the score shrinks by this factor with every token of distance
// The settings: encoding, base, head (channels), length (L, tokens of training), factor (s: texts are s times longer),
// fraction (of the components that turn).

const turn = 2 * Math.PI;
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const wavelength = component => component.frequency === 0 ? Infinity : turn / component.frequency;

function geometric(count, base) {
  return Array.from({length: count}, (_, index) => {
    const frequency = base ** (-index / count);
    return {index, frequency, trained: frequency, gain: 1, decay: 1};
  });
}

const ropeOf = s => geometric(s.head / 2, s.base);

// Those that f turns into false stand still.
const stoppedUnless = (components, f) => components.map(c => f(c) ? c : {...c, frequency: 0});

// By parts: more than `fast` turns within L stays, fewer than `slow` is slowed by the factor, between them a mixture.
function slowedByParts(s, slow, fast) {
  return ropeOf(s).map(c => {
    const kept = clamp((s.length / wavelength(c) - slow) / (fast - slow), 0, 1);
    return {...c, frequency: c.frequency * (kept + (1 - kept) / s.factor)};
  });
}

// Cosine and sine of q and of k are multiplied by 0.1 ln s + 1.
const sharpened = (components, s) => components.map(c => ({...c, gain: (0.1 * Math.log(s.factor) + 1) ** 2}));

function yarn(s) {
  const count = s.head / 2;
  const indexOf = turns => count * Math.log(s.length / (turn * turns)) / Math.log(s.base);
  const first = Math.max(0, Math.floor(indexOf(32)));
  let last = Math.min(s.head - 1, Math.ceil(indexOf(1)));
  if (last === first) last += 0.001;
  return sharpened(
      ropeOf(s).map(c => {
        const slowed = clamp((c.index - first) / (last - first), 0, 1);
        return {...c, frequency: c.frequency * (1 - slowed + slowed / s.factor)};
      }),
      s);
}

function partial(s) {
  const turning = geometric(Math.floor(s.fraction * s.head / 2), s.base);
  return ropeOf(s).map(c => turning[c.index] ?? {...c, frequency: 0});
}

function xpos(s) { return ropeOf(s).map(c => ({...c, decay: ((c.index / (s.head / 2) + 0.4) / 1.4) ** (1 / 512)})); }

const clippedCount = s => Math.ceil(s.head / 2 * 20 / 64);

function clipped(s) {
  const count = clippedCount(s), first = s.head / 2 - count;
  const taper = c => 0.5 * (1 + Math.cos(Math.PI * (c.index - first) / (count - 1)));
  return ropeOf(s).map(c => c.index < first ? c : {...c, frequency: c.frequency * taper(c)});
}

// `uses`: the settings beyond base and head size that it reads. `readsRope`: made for a model trained with RoPE. `why`:
// of a component that stands still.
const encodings = {
  rope: {
    name: 'RoPE',
    components: ropeOf,
    says: 'Every component turns. Frequencies fall geometrically, from 1 rad per token to almost 1 / base: the slow ' +
        'components do not complete one turn within L, so that a longer text shows the model angles it has never seen.',
    source: 'Su et al., arXiv:2104.09864',
  },
  hope: {
    name: 'HoPE',
    components: s => stoppedUnless(ropeOf(s), c => wavelength(c) <= s.length),
    why: (c, s) => `\u03bb ${tokens(wavelength(ropeOf(s)[c.index]))} > L`,
    says:
        'A component whose wavelength is longer than L stands still; the others turn as in RoPE. Every angle that a ' +
        'longer text can show has been seen in training, and what stands still carries meaning without position.',
    source: 'Chen et al., arXiv:2410.21216',
  },
  p_rope: {
    name: 'p-RoPE',
    usesFraction: true,
    components: s => stoppedUnless(ropeOf(s), c => c.index < Math.floor(s.fraction * s.head / 2)),
    why: () => 'beyond the fraction that turns',
    says: 'The fastest fraction p of the components turns, the rest stands still. HoPE is the p-RoPE whose p follows ' +
        'from L; with a p fixed beforehand, components may go on turning that show new angles beyond L.',
    source: 'Barbero et al., arXiv:2410.06205',
  },
  partial: {
    name: 'partial rotary',
    usesFraction: true,
    components: partial,
    why: () => 'beyond the fraction that turns',
    says:
        'A smaller RoPE on a fraction of the channels, with frequencies that again run down to almost 1 / base: the ' +
        'slow components stay, there are only fewer of them all.',
    source: 'Black et al., arXiv:2204.06745',
  },
  interpolation: {
    name: 'position interpolation',
    readsRope: true,
    components: s => ropeOf(s).map(c => ({...c, frequency: c.frequency / s.factor})),
    says:
        'Every component turns s times slower, so that a text of s L tokens shows only the angles of L. Neighbouring ' +
        'tokens come closer together, the fast components included.',
    source: 'Chen et al., arXiv:2306.15595',
  },
  ntk: {
    name: 'NTK-aware',
    readsRope: true,
    components: s => ropeOf(s).map(c => ({...c, frequency: c.frequency / s.factor ** (c.index / (s.head / 2 - 1))})),
    says: 'A larger base: the slowest component turns s times slower, the fastest stays, those between follow ' +
        'geometrically. Components around wavelength L still show a part of new angles.',
    source: 'Peng et al., arXiv:2309.00071, section 3.1',
  },
  ntk_by_parts: {
    name: 'NTK by parts',
    readsRope: true,
    components: s => slowedByParts(s, 1, 32),
    says: 'Components that turn more than 32 times within L stay, those that do not complete a turn become s times ' +
        'slower, those between are mixed.',
    source: 'Peng et al., arXiv:2309.00071, section 3.2',
  },
  yarn: {
    name: 'YaRN',
    readsRope: true,
    components: yarn,
    says: 'NTK by parts (mixed along the index of the component, as its code has it), and scores grow by ' +
        '(0.1 ln s + 1)\u00b2, which sharpens the softmax as longer texts need.',
    source: 'Peng et al., arXiv:2309.00071',
  },
  yarn_paper: {
    name: 'YaRN (as in the paper)',
    readsRope: true,
    components: s => sharpened(slowedByParts(s, 1, 32), s),
    says:
        'NTK by parts (mixed along the turns within L, as the paper has it), and scores grow by (0.1 ln s + 1)\u00b2.',
    source: 'Peng et al., arXiv:2309.00071, section 3.4',
  },
  llama3: {
    name: 'Llama 3',
    readsRope: true,
    components: s => slowedByParts(s, 1, 4),
    says:
        'By parts between 1 and 4 turns within L: what turns 4 times stays, what does not complete a turn becomes s ' +
        'times slower. Scores keep their scale.',
    source: 'Grattafiori et al., arXiv:2407.21783',
  },
  clipped: {
    name: 'clipped RoPE',
    components: clipped,
    why: () => 'the last of the taper',
    says: 'The slowest 20 of 64 components are slowed along a cosine taper, the last of them to a stop. A hard cut ' +
        'would ring along the distance.',
    source: 'Li et al., arXiv:2602.05258',
  },
  clipped_hard: {
    name: 'hard-clipped RoPE',
    components: s => stoppedUnless(ropeOf(s), c => c.index < s.head / 2 - clippedCount(s)),
    why: () => 'one of the slowest 20 of 64',
    says: 'The slowest 20 of 64 components stand still, whatever L is.',
    source: 'Li et al., arXiv:2602.05258',
  },
  xpos: {
    name: 'xPos',
    components: xpos,
    says: 'RoPE whose parts of the score shrink with the distance, the fast components\u2019 first.',
    source: 'Sun et al., arXiv:2212.10554',
  },
  nope: {
    name: 'NoPE',
    components: s => stoppedUnless(ropeOf(s), () => false),
    why: () => 'NoPE turns nothing',
    says:
        'No encoding: nothing turns, the score does not know the distance. Only the causal mask tells positions apart.',
    source: 'Kazemnejad et al., arXiv:2305.19466',
  },
};

// The part of the score that a component has for q and k, each [x, y] in its plane, at a distance: k is turned back by
// the angle between them.
function part(component, q, k, distance) {
  const [x, y] = turnedBack(k, component.frequency * distance);
  return component.gain * component.decay ** distance * (q[0] * x + q[1] * y);
}

const turnedBack =
    ([x, y], angle) => [x * Math.cos(angle) + y * Math.sin(angle), y * Math.cos(angle) - x * Math.sin(angle)];

function componentsOf(s) {
  const {components, readsRope} = encodings[s.encoding];
  return components(s).map(c => readsRope ? c : {...c, trained: c.frequency});
}

// Angles from 0: those met in training, within L, and those that a text of s L tokens shows; a whole turn is all.
const angleTrained = (component, s) => Math.min(turn, component.trained * s.length);
const angleRead = (component, s) => Math.min(turn, component.frequency * s.length * s.factor);
// A hand slowed down by exactly s ends where training did, but for the rounding.
const showsNew = (component, s) => angleRead(component, s) > angleTrained(component, s) * (1 + 1e-9);
