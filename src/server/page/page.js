// The page of `lacuna serve`. What a model or a user wrote is put in by textContent alone.
'use strict';

const $ = (id) => document.getElementById(id);
const tabs = ['write', 'chat', 'fill'];
let model = null;        // what /v1/models says of it
let tab = 'write';
let running = null;      // AbortController of the request in progress
let conversation = [];   // {role, content}
let recording = null;    // the canvas: start event, steps, spans
let shown = 0;           // the step of the recording that is seen
let player = 0;

// --- requests

function headers() {
  const all = {'Content-Type': 'application/json'};
  if ($('key').value) all.Authorization = 'Bearer ' + $('key').value;
  return all;
}

async function ask(path, body, signal) {
  const response = await fetch(path, {
    method: body ? 'POST' : 'GET', headers: headers(), body: body && JSON.stringify(body), signal});
  if (response.ok) return response;
  let message = 'The server answered with status ' + response.status + '.';
  try {
    message = (await response.json()).error.message;
  } catch { /* no JSON: the status says it */ }
  throw new Error(message);
}

// Calls take(name, data) for each event of a stream.
async function events(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      let name = 'message', data = '';
      for (const line of text.slice(0, end).split('\n')) {
        if (line.startsWith('event: ')) name = line.slice(7);
        if (line.startsWith('data: ')) data += line.slice(6);
      }
      if (data) take(name, JSON.parse(data));
    }
  }
}

function settings() {
  const fields = {temperature: Number($('temperature').value)};
  if ($('seed').value !== '') fields.seed = Number($('seed').value);
  if (tab !== 'fill') fields.max_tokens = Number($('length').value) || 64;
  if (model && model.attention === 'causal') return fields;
  if ($('strategy').value !== 'auto') fields.strategy = $('strategy').value;
  if (['threshold', 'wino'].includes(fields.strategy)) fields.threshold = Number($('threshold').value);
  if ($('steps').value) fields.steps = Number($('steps').value);
  if ($('block').value && tab !== 'fill') fields.block_length = Number($('block').value);
  return fields;
}

async function generate() {
  if (running) return;
  $('error').hidden = true;
  const body = settings();
  if (tab === 'write') body.prompt = $('prompt').value || $('prompt').placeholder;
  if (tab === 'fill') body.text = $('text').value || $('text').placeholder;
  if (tab === 'chat') {
    const message = $('message').value.trim();
    if (!message) return;
    conversation.push({role: 'user', content: message});
    $('message').value = '';
    list_messages();
    body.messages = conversation;
  }
  busy(new AbortController());
  try {
    const response = await ask('/v1/canvas', body, running.signal);
    await events(response, (name, data) => {
      if (name === 'start') begin(data);
      if (name === 'step') step(data);
      if (name === 'end') finish(data);
      if (name === 'error') throw new Error(data.error.message);
    });
    if (recording && !recording.end) throw new Error('The server ended the stream early.');
  } catch (error) {
    if (tab === 'chat' && conversation.length && conversation.at(-1).role === 'user') {
      $('message').value = conversation.pop().content;
      list_messages();
    }
    if (error.name === 'AbortError') $('status').textContent += ' · stopped';
    else complain(error.message);
  }
  busy(null);
}

function busy(controller) {
  running = controller;
  $('go').disabled = Boolean(controller);
  $('stop').disabled = !controller;
  $('view').setAttribute('aria-busy', String(Boolean(controller)));
  $('play').disabled = Boolean(controller);
}

function complain(message) {
  $('error').textContent = message;
  $('error').hidden = false;
}

function list_messages() {
  $('messages').replaceChildren(...conversation.map(({role, content}) => {
    const item = document.createElement('li');
    item.className = role;
    item.textContent = content;
    return item;
  }));
  $('clear').hidden = tab !== 'chat' || conversation.length === 0;
}

// --- the canvas

function begin(start) {
  recording = {start, steps: [], spans: [], began: performance.now(), end: null};
  clearInterval(player);
  $('canvas').replaceChildren();
  $('view').hidden = false;
  $('token').hidden = false;
  start.pieces.forEach((piece, i) => {
    add_span();
    paint(i, piece === null ? null : {piece, step: -1, confidence: 1});
  });
  move_to(0);
}

function add_span() {
  const span = document.createElement('span');
  span.dataset.at = recording.spans.length;
  recording.spans.push({element: span, token: undefined});
  $('canvas').append(span);
}

// token: null where it is masked, undefined where nothing is yet (a model that reads on).
function paint(i, token, fresh = false) {
  const span = recording.spans[i], element = span.element;
  span.token = token;
  element.className = '';
  element.textContent = '';
  if (token === undefined) return;
  if (token === null) {
    element.className = 'masked';
    return;
  }
  element.textContent = token.piece;
  if (/^<\|.*\|>$/s.test(token.piece)) {
    element.className = 'mark';
    return;
  }
  element.className = token.step < 0 ? 'given' : fresh ? 'filled fresh' : 'filled';
  if (token.step >= 0) tint(element, token);
}

function tint(element, token) {
  const colour = document.querySelector('input[name=colour]:checked').value;
  const steps = recording.end ? recording.steps.length : recording.steps.at(-1)?.of || 1;
  const last = Math.max(1, steps - 1);
  element.style.setProperty('--t', colour === 'confidence' ? token.confidence : token.step / last);
}

function step(data) {
  recording.steps.push(data);
  $('slider').max = recording.steps.length;
  const live = shown === recording.steps.length - 1;
  if (live) move_to(recording.steps.length);
  const seconds = (performance.now() - recording.began) / 1000;
  const filled = recording.steps.reduce((n, s) => n + s.committed.length - s.revoked.length, 0);
  $('status').textContent = 'pass ' + data.n + (data.of > 0 ? ' of at most ' + data.of : '') +
    (data.masked ? ' · ' + data.masked + ' masked' : '') + ' · ' + rate(filled, seconds);
}

function rate(tokens, seconds) {
  return (tokens / Math.max(seconds, 0.001)).toFixed(1) + ' tokens/s';
}

function finish(data) {
  recording.end = data;
  const {completion_tokens: tokens} = data.usage, {forward_passes: passes, denoise_ms: ms} = data.timings;
  $('status').textContent = tokens + ' tokens in ' + passes + ' passes · ' + rate(tokens, ms / 1000) +
    ' · ' + (tokens / Math.max(1, passes)).toFixed(2) + ' tokens per pass · seed ' + data.seed;
  move_to(recording.steps.length);
  if (tab === 'chat') {
    conversation.push({role: 'assistant', content: data.text.trim()});
    list_messages();
  }
}

// Shows the canvas as it was after `to` steps.
function move_to(to) {
  if (!recording) return;
  if (to === shown + 1 && recording.steps.length >= to) {
    advance(to - 1, true);
  } else {
    recording.start.pieces.forEach((piece, i) =>
      paint(i, piece === null ? null : {piece, step: -1, confidence: 1}));
    for (let i = recording.start.pieces.length; i < recording.spans.length; ++i) paint(i, undefined);
    for (let i = 0; i < to; ++i) advance(i, i === to - 1);
  }
  shown = to;
  $('slider').value = to;
  $('at').textContent = to + ' / ' + recording.steps.length;
  const all_seen = recording.end && to === recording.steps.length;
  if (all_seen) settle();
  else for (const {element} of recording.spans) element.classList.remove('after');
}

function advance(number, fresh) {
  for (const {element} of recording.spans) element.classList.remove('fresh');
  const {committed, revoked} = recording.steps[number];
  for (const at of revoked) paint(at, null);
  for (const [at, , piece, confidence] of committed) {
    while (recording.spans.length <= at) add_span();
    paint(at, {piece, step: number, confidence}, fresh && !recording.end);
  }
}

// What follows the end of the answer is no part of it. Colours are those of the whole.
function settle() {
  const {prompt_tokens: prompt, appends} = recording.start;
  const end = appends ? prompt + recording.end.usage.completion_tokens : Infinity;
  recording.spans.forEach(({element, token}, i) => {
    element.classList.remove('fresh');
    element.classList.toggle('after', i >= end);
    if (token && token.step >= 0) tint(element, token);
  });
}

function recolour() {
  const colour = document.querySelector('input[name=colour]:checked').value;
  $('canvas').classList.toggle('plain', colour === 'none');
  $('low').textContent = colour === 'confidence' ? 'unsure' : 'first';
  $('high').textContent = colour === 'confidence' ? 'sure' : 'last';
  if (!recording) return;
  for (const {element, token} of recording.spans) if (token && token.step >= 0) tint(element, token);
}

function choose(at) {
  if (!recording) return;
  for (const {element} of recording.spans) element.classList.remove('chosen');
  const span = recording.spans[at];
  if (!span) return;
  span.element.classList.add('chosen');
  const {token} = span;
  $('token').textContent = 'Token ' + (at + 1) + ': ' + (!token ? 'masked' : token.step < 0 ? 'given' :
    'filled in by pass ' + (token.step + 1) + ', ' + (100 * token.confidence).toFixed(0) + ' % sure');
}

function play() {
  if (!recording || running) return;
  clearInterval(player);
  move_to(0);
  const pause = Math.min(150, Math.max(25, 6000 / recording.steps.length));
  player = setInterval(() => {
    if (shown >= recording.steps.length) clearInterval(player);
    else move_to(shown + 1);
  }, pause);
}

// --- gaps

async function mark_selection() {
  const area = $('text'), {selectionStart: from, selectionEnd: to, value} = area;
  if (from === to) return complain('Select the words that are to become a gap.');
  $('error').hidden = true;
  try {
    const {count} = await (await ask('/tokenize', {text: value.slice(from, to)})).json();
    area.setRangeText('{gap:' + count + '}', from, to, 'end');
    area.focus();
  } catch (error) {
    complain(error.message);
  }
}

function insert_gap() {
  const area = $('text'), length = Math.max(1, Number($('gap-length').value) || 1);
  area.setRangeText('{gap:' + length + '}', area.selectionStart, area.selectionEnd, 'end');
  area.focus();
}

// --- the page

function select_tab(name) {
  tab = name;
  for (const other of tabs) {
    $(other).hidden = other !== name;
    $('tab-' + other).setAttribute('aria-selected', String(other === name));
    $('tab-' + other).tabIndex = other === name ? 0 : -1;
  }
  $('go').textContent = name === 'chat' ? 'Send' : name === 'fill' ? 'Fill in' : 'Generate';
  $('keys').textContent = name === 'chat' ? 'Enter' : 'Ctrl + Enter';
  list_messages();
}

function show_model(found) {
  model = found;
  const kinds = {bidirectional: 'masked diffusion', block_causal: 'block diffusion', causal: 'autoregressive'};
  $('model').textContent = found.id + ' · ' + kinds[found.attention] + ' · up to ' + found.max_model_len + ' tokens';
  document.title = found.id + ' – Lacuna';
  for (const element of document.querySelectorAll('.diffusion')) element.hidden = found.attention === 'causal';
  $('block').disabled = found.attention === 'block_causal';
  $('no-chat').hidden = found.chat;
  $('message').disabled = !found.chat;
  $('no-fill').hidden = found.infill;
  for (const id of ['text', 'mark', 'insert']) $(id).disabled = !found.infill;
  $('length').value = Math.min(64, found.max_model_len);
}

async function find_model() {
  try {
    show_model((await (await ask('/v1/models')).json()).data[0]);
    $('error').hidden = true;
  } catch (error) {
    complain(error.message);
  }
}

for (const name of tabs) {
  $('tab-' + name).addEventListener('click', () => select_tab(name));
  $('tab-' + name).addEventListener('keydown', (event) => {
    const by = {ArrowRight: 1, ArrowLeft: 2}[event.key];
    if (!by) return;
    const next = tabs[(tabs.indexOf(name) + by) % 3];
    select_tab(next);
    $('tab-' + next).focus();
  });
}
for (const id of ['temperature', 'threshold'])
  $(id).addEventListener('input', () => {
    document.querySelector('output[for=' + id + ']').textContent = $(id).value;
  });
$('go').addEventListener('click', generate);
$('stop').addEventListener('click', () => running && running.abort());
$('clear').addEventListener('click', () => {
  conversation = [];
  list_messages();
  $('message').focus();
});
for (const id of ['prompt', 'text', 'message'])
  $(id).addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.isComposing) return;
    if (id === 'message' ? event.shiftKey : !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    generate();
  });
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && running) running.abort();
});
$('mark').addEventListener('click', mark_selection);
$('insert').addEventListener('click', insert_gap);
$('slider').addEventListener('input', () => {
  clearInterval(player);
  move_to(Number($('slider').value));
});
$('play').addEventListener('click', play);
for (const radio of document.querySelectorAll('input[name=colour]')) radio.addEventListener('change', recolour);
$('canvas').addEventListener('pointerover', (event) => {
  if (event.target.dataset.at) choose(Number(event.target.dataset.at));
});
$('canvas').addEventListener('keydown', (event) => {
  const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!by || !recording) return;
  event.preventDefault();
  const chosen = $('canvas').querySelector('.chosen');
  const at = chosen ? Number(chosen.dataset.at) + by : 0;
  choose(Math.min(recording.spans.length - 1, Math.max(0, at)));
});
$('key').addEventListener('change', find_model);
find_model();
