// The transcript beside its player: click a segment to hear it, select some to merge or hear again, edit in place.
// data: {revision, segments: [{text, start, end, marks, words: [[text, start, end, probability]]}], low, words: {...}}
// It sends one trigger, `action`; Python changes the transcript and sends it back whole. Text only ever goes in as text.

const states = new WeakMap()

export default function ({ data, parentElement, setTriggerValue }) {
  let state = states.get(parentElement)
  if (!state) {
    state = { chosen: new Set(), editing: -1, anchor: -1, draft: null }
    states.set(parentElement, state)
  }
  state.send = (action) => setTriggerValue("action", { ...action, revision: state.data.revision })
  if (!state.data || state.data.revision !== data.revision || state.data.id !== data.id) {
    state.data = data
    state.chosen.clear()
    state.editing = -1
    draw(state, parentElement.querySelector(".editor"))
  } else if (JSON.stringify(state.data.words) !== JSON.stringify(data.words)) {
    state.data = data
    draw(state, parentElement.querySelector(".editor"))
  }
  const stop = follow(state)
  return () => stop()
}

function element(tag, props = {}, ...children) {
  const made = Object.assign(document.createElement(tag), props)
  made.append(...children)
  return made
}

function draw(state, root) {
  const list = root.querySelector(".list")
  const top = list ? list.scrollTop : 0
  state.rows = []
  const fresh = element("div", { className: "list" })
  fresh.setAttribute("role", "list")
  state.data.segments.forEach((segment, index) => fresh.append(row(state, root, segment, index)))
  state.bar = element("div", { className: "bar" })
  root.replaceChildren(state.bar, fresh)
  fresh.scrollTop = top
  toolbar(state, root)
}

function toolbar(state, root) {
  const words = state.data.words
  const chosen = [...state.chosen].sort((a, b) => a - b)
  const [first, last] = [chosen[0], chosen[chosen.length - 1]]
  const button = (kind, enabled) => {
    const made = element("button", { textContent: words[kind], disabled: !enabled, title: words[kind + "_help"] || "" })
    made.onclick = () => state.send({ kind, first, last })
    return made
  }
  const count = chosen.length ? words.chosen.replace("{count}", last - first + 1) : words.hint
  state.bar.replaceChildren(
    element("span", { className: "count", textContent: count }),
    button("merge", chosen.length > 1),
    button("retry", chosen.length > 0),
    button("delete", chosen.length > 0),
  )
}

function row(state, root, segment, index) {
  const words = state.data.words
  const made = element("div", { className: "row" })
  made.setAttribute("role", "listitem")
  made.dataset.index = index
  state.rows[index] = { made, spans: [] }
  if (index === state.editing) return editing(state, root, segment, index, made)
  const box = element("input", { type: "checkbox", checked: state.chosen.has(index), ariaLabel: words.select })
  box.onclick = (event) => choose(state, root, index, box.checked, event.shiftKey)
  const time = element("button", { className: "time", textContent: clock(segment.start, false), title: words.play })
  const text = element("div", { className: "text", tabIndex: 0 })
  text.setAttribute("role", "button")
  time.onclick = text.onclick = () => play(segment.start)
  text.ondblclick = () => edit(state, root, index)
  text.onkeydown = (event) => {
    if (event.key === "Enter") play(segment.start)
  }
  if (segment.words.length) {
    for (const [word, start, end, probability] of segment.words) {
      const span = element("span", { className: "word", textContent: word })
      span.times = [start, end]
      if (probability < state.data.low) {
        span.classList.add("low")
        span.style.setProperty("--doubt", (state.data.low - probability) / state.data.low)
        span.title = words.sure.replace("{percent}", Math.round(probability * 100))
      }
      state.rows[index].spans.push(span)
      text.append(span)
    }
  } else text.textContent = segment.text
  for (const mark of segment.marks)
    text.append(element("span", { className: "mark", textContent: words["mark_" + mark], title: words["mark_" + mark + "_help"] }))
  const pencil = element("button", { className: "edit", textContent: "✎", title: words.edit, ariaLabel: words.edit })
  pencil.onclick = () => edit(state, root, index)
  made.classList.toggle("chosen", state.chosen.has(index))
  made.append(box, time, text, pencil)
  return made
}

function edit(state, root, index) {
  state.editing = index
  draw(state, root)
  root.querySelector("textarea")?.focus()
}

function editing(state, root, segment, index, made) {
  const words = state.data.words
  made.classList.add("editing")
  const area = element("textarea", { value: segment.text, rows: Math.max(2, Math.ceil(segment.text.length / 60)), ariaLabel: words.edit })
  const start = element("input", { className: "clock", value: clock(segment.start, true), ariaLabel: words.start, title: words.start })
  const end = element("input", { className: "clock", value: clock(segment.end, true), ariaLabel: words.end, title: words.end })
  const save = () => {
    const times = [seconds(start.value), seconds(end.value)]
    start.classList.toggle("bad", times[0] === null)
    end.classList.toggle("bad", times[1] === null || (times[0] !== null && times[1] <= times[0]))
    if (times[0] === null || times[1] === null || times[1] <= times[0]) return
    if (start.value === clock(segment.start, true)) times[0] = segment.start
    if (end.value === clock(segment.end, true)) times[1] = segment.end
    state.editing = -1
    state.send({ kind: "edit", first: index, last: index, text: area.value, start: times[0], end: times[1] })
    draw(state, root)
  }
  const leave = () => {
    state.editing = -1
    draw(state, root)
  }
  area.onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault()
      save()
    } else if (event.key === "Escape") leave()
  }
  const button = (label, act, main, title = "") => {
    const b = element("button", { textContent: label, className: main ? "main" : "", title })
    b.onclick = act
    return b
  }
  const divide = () => {
    state.editing = -1
    state.send({ kind: "split", first: index, last: index, text: area.value, offset: area.selectionStart })
    draw(state, root)
  }
  const keepCaret = button(words.split, divide, false, words.split_help)
  keepCaret.onmousedown = (event) => event.preventDefault()
  made.append(
    area,
    element("div", { className: "tools" }, start, "→", end, element("span", { className: "spacer" }), keepCaret,
      button(words.cancel, leave), button(words.save, save, true)),
  )
  return made
}

function choose(state, root, index, on, range) {
  const from = range && state.anchor >= 0 ? Math.min(state.anchor, index) : index
  const to = range && state.anchor >= 0 ? Math.max(state.anchor, index) : index
  for (let i = from; i <= to; i++) on ? state.chosen.add(i) : state.chosen.delete(i)
  state.anchor = index
  state.rows.forEach(({ made }, i) => {
    made.classList.toggle("chosen", state.chosen.has(i))
    const box = made.querySelector("input[type=checkbox]")
    if (box) box.checked = state.chosen.has(i)
  })
  toolbar(state, root)
}

// The player is Streamlit's own audio element; it is looked up when needed because a rerun may replace it.
function player() {
  return document.querySelector(".st-key-speech_player audio")
}

function play(start) {
  const audio = player()
  if (!audio) return
  audio.currentTime = start
  audio.play().catch(() => {}) // a browser may refuse sound before the first click; the position is set all the same
}

function follow(state) {
  let frame = 0
  let shown = -1
  let spoken = null
  const step = () => {
    frame = requestAnimationFrame(step)
    const audio = player()
    if (!audio || (audio.paused && audio.currentTime === state.at)) return
    state.at = audio.currentTime
    const index = find(state.data.segments, state.at)
    if (index !== shown) {
      state.rows.forEach(({ made }, i) => made.classList.toggle("playing", i === index))
      if (index >= 0 && !audio.paused) state.rows[index].made.scrollIntoView({ block: "nearest" })
      shown = index
    }
    const span = index < 0 ? null : state.rows[index].spans.find((s) => s.times[0] <= state.at && state.at < s.times[1])
    if (span !== spoken) {
      spoken?.classList.remove("now")
      span?.classList.add("now")
      spoken = span
    }
  }
  frame = requestAnimationFrame(step)
  return () => cancelAnimationFrame(frame)
}

function find(segments, at) {
  let low = 0
  let high = segments.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    if (at < segments[middle].start) high = middle - 1
    else if (at >= segments[middle].end) low = middle + 1
    else return middle
  }
  return -1
}

function clock(time, exact) {
  const ms = Math.round(time * 1000)
  const pad = (value, size = 2) => String(value).padStart(size, "0")
  const [h, m, s] = [Math.floor(ms / 3600000), Math.floor(ms / 60000) % 60, Math.floor(ms / 1000) % 60]
  const short = (h ? h + ":" + pad(m) : m) + ":" + pad(s)
  return exact ? short + "." + pad(ms % 1000, 3) : short
}

function seconds(text) {
  const parts = text.trim().replace(",", ".").split(":")
  if (!parts.length || parts.length > 3 || parts.some((part) => !/^\d+(\.\d+)?$/.test(part))) return null
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0)
}
