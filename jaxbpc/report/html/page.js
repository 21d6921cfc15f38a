// The theme's button, and texts coloured by what their tokens cost. Without it the page is whole.
(() => {
  "use strict";
  const root = document.documentElement;
  const find = (what, where = document) => where.querySelector(what);

  // Theme: system, light, dark; kept where the browser allows it.
  const themes = ["system", "light", "dark"];
  const button = find("#theme");
  const keep = (value) => {
    try {
      if (value) localStorage.setItem("jaxbpc-theme", value);
      return localStorage.getItem("jaxbpc-theme");
    } catch {
      return value;
    }
  };
  const wear = (theme) => {
    root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  const kept = keep();
  wear(themes.includes(kept) ? kept : "system");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    keep(next);
    wear(next);
  });

  const viewer = find("#viewer");
  if (!viewer) return;
  const { levels, differences, names } = JSON.parse(find("#levels").textContent);
  const shown = find("#shown");
  const less = find("#less");
  find(".controls").hidden = false;
  find("#plain").hidden = true;
  const level = (value, limits) => limits.filter((limit) => value >= limit).length;

  // A document: its characters (code points), its runs' tokens [{begin, end, nats}], its pieces.
  const documents = [...viewer.querySelectorAll("details.doc")].map((details) => {
    const box = find(".text", details);
    const characters = Array.from(box.textContent);
    const tokens = new Map();
    for (const { run, lengths, nats } of JSON.parse(find("script", details).textContent)) {
      let end = 0;
      const made = lengths.map((length, i) => {
        const token = { begin: end, end: end + length, nats: nats[i] === null ? null : nats[i] / 100 };
        end = token.end;
        return token;
      });
      if (made.length) tokens.set(run, made);
    }
    return { details, box, characters, tokens, readout: find(".readout", details), pieces: [], at: -1 };
  });

  // What two runs' tokens cut the text into; each piece knows the token of either.
  function cut(first, second, length) {
    const pieces = [];
    let i = 0, j = 0;
    for (let begin = 0; begin < length; ) {
      const one = first[i], other = second && second[j];
      const end = Math.min(one ? one.end : length, other ? other.end : length, length);
      if (end > begin) pieces.push({ begin, end, one, other });
      if (one && one.end <= end) i++;
      if (other && other.end <= end) j++;
      begin = end;
    }
    return pieces;
  }

  const rate = (token) => (token && token.nats !== null ? token.nats / (token.end - token.begin) : null);

  function colour(piece, compared) {
    const one = rate(piece.one);
    if (!compared) return one === null ? "none" : `q${level(one, levels)}`;
    const other = rate(piece.other);
    if (one === null || other === null) return "none";
    const far = level(Math.abs(one - other), differences);
    return (one < other ? "b" : "w") + far;
  }

  function draw(doc) {
    const compared = less && less.value !== "";
    const first = doc.tokens.get(Number(shown.value));
    const second = compared ? doc.tokens.get(Number(less.value)) : undefined;
    doc.at = -1;
    doc.readout.textContent = "";
    if (!first || (compared && !second)) {
      doc.pieces = [];
      doc.box.textContent = doc.characters.join("");
      doc.readout.textContent = `${names[first ? less.value : shown.value]} did not score this text, or its token offsets are unknown.`;
      return;
    }
    doc.pieces = cut(first, second, doc.characters.length);
    const spans = document.createDocumentFragment();
    doc.pieces.forEach((piece, i) => {
      const span = document.createElement("span");
      const text = doc.characters.slice(piece.begin, piece.end).join("");
      span.className = colour(piece, compared) + (text.includes("\n") ? " line" : "");
      span.textContent = text;
      span.dataset.i = i;
      spans.append(span);
    });
    doc.box.replaceChildren(spans);
    doc.readout.textContent = "Point at a token to see its nats.";
  }

  const visible = (text) => text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·");

  function describe(doc, run, token) {
    const text = doc.characters.slice(token.begin, token.end).join("");
    const short = visible(text.length > 60 ? text.slice(0, 60) + "…" : text);
    if (token.nats === null) return [short, `${names[run]}: not scored`];
    const length = token.end - token.begin;
    const each = length > 1 ? ` over ${length} characters, ${rate(token).toFixed(2)} each` : "";
    return [short, `${names[run]}: ${token.nats.toFixed(2)} nats${each}`];
  }

  function point(doc, i) {
    const piece = doc.pieces[i];
    const span = doc.box.children[i];
    if (!piece || !span) return;
    doc.box.children[doc.at]?.classList.remove("at");
    span.classList.add("at");
    doc.at = i;
    doc.readout.replaceChildren();
    for (const [run, token] of [[shown.value, piece.one], [less?.value, piece.other]]) {
      if (!token) continue;
      const [text, words] = describe(doc, run, token);
      const code = document.createElement("bdi");
      code.textContent = text;
      const line = document.createElement("span");
      line.append(code, ` ${words}`);
      doc.readout.append(line);
    }
  }

  for (const doc of documents) {
    doc.details.addEventListener("toggle", () => {
      if (doc.details.open && !doc.pieces.length) draw(doc);
    });
    const under = (event) => {
      const i = event.target.dataset.i;
      if (i !== undefined && Number(i) !== doc.at) point(doc, Number(i));
    };
    doc.box.addEventListener("pointerover", under);
    doc.box.addEventListener("click", under);
    doc.box.addEventListener("keydown", (event) => {
      const last = doc.pieces.length - 1;
      const to = { ArrowRight: doc.at + 1, ArrowLeft: doc.at - 1, Home: 0, End: last }[event.key];
      if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      point(doc, Math.min(Math.max(to, 0), last));
      doc.box.children[doc.at]?.scrollIntoView({ block: "nearest" });
    });
    if (doc.details.open) draw(doc);
  }

  function redraw() {
    const compared = less && less.value !== "";
    viewer.classList.toggle("compared", compared);
    find("#scale-nats").hidden = compared;
    find("#scale-less").hidden = !compared;
    for (const doc of documents) {
      doc.pieces = [];
      if (doc.details.open) draw(doc);
    }
  }
  for (const select of [shown, less]) select?.addEventListener("change", redraw);
  redraw();
})();
