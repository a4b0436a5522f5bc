package strictfile

import (
	"bytes"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"
)

const (
	excerptWidth = 160 // characters; line number and frame come on top
	excerptLead  = 100 // bytes at most before the place that is pointed at
)

// excerpts shows lines of the file. What is shown is what the decoder knew: the
// names of keys, the scalars of known keys that hold no secret, and punctuation
// between them. All else, comments too, is an ellipsis.
type excerpts struct {
	content []byte
	root    *node
	spans   []span // of what may be shown, in the order of the file; nil: not collected yet
}

// span is a part of the content that may be shown.
type span struct {
	start, end int
	hides      bool // what follows it is a value that may not
}

// at returns the line of a place, and how many characters of it stand before
// the place; "" when nothing of it may be shown.
func (x *excerpts) at(p place) (line string, caret int) {
	if x.spans == nil {
		x.collect(x.root)
		sort.SliceStable(x.spans, func(i, j int) bool { return x.spans[i].start < x.spans[j].start })
	}
	w := x.window(p)
	w.walk(x.spans)
	if !w.shows { // an ellipsis helps nobody
		return "", 0
	}
	if w.runes > excerptWidth {
		return string([]rune(w.out.String())[:excerptWidth]) + "…", w.caret
	}
	return w.out.String(), w.caret
}

func (x *excerpts) collect(n *node) {
	if n.isScalar() && n.shown {
		x.add(n.text, n.place, false)
	}
	if n.kind == object && n.shown && n.text != "" { // the header of a TOML table
		x.add(n.text, n.place, false)
	}
	for _, item := range n.items {
		x.collect(item)
	}
	for _, m := range n.members {
		if m.shown {
			x.add(m.name, m.place, !m.value.shown || m.value.isScalar() && !x.has(m.value.text, m.value.place))
		}
		x.collect(m.value)
	}
}

// add marks text, which stands at a place, as what may be shown.
func (x *excerpts) add(text string, at place, hides bool) {
	if end := x.end(text, at); end > at.offset {
		x.spans = append(x.spans, span{start: at.offset, end: end, hides: hides})
	}
}

func (x *excerpts) has(text string, at place) bool { return text == "" || x.end(text, at) > at.offset }

// end returns where text ends that stands at a place as it is, bare or in
// quotes; else 0, for text that is written in another way: what cannot be found
// is not shown. Neither is a URL that may hold a credential.
func (x *excerpts) end(text string, at place) int {
	if i := strings.Index(text, "://"); i >= 0 && strings.ContainsAny(text[i:], "@?") {
		return 0
	}
	rest := x.content[min(at.offset, len(x.content)):]
	for _, quote := range []string{"", `"`, "'"} {
		if written := quote + text + quote; text != "" && bytes.HasPrefix(rest, []byte(written)) {
			return at.offset + len(written)
		}
	}
	return 0
}

// window is the part of a line around a place, and what becomes of it.
type window struct {
	content  []byte
	from, to int // offsets
	place    int // offset
	cut      bool
	shows    bool // a span is in it

	out   strings.Builder
	runes int
	caret int
}

func (x *excerpts) window(p place) *window {
	at := min(p.offset, len(x.content))
	w := &window{content: x.content, place: at}
	w.from = max(0, at-excerptLead)
	if i := bytes.LastIndexAny(x.content[w.from:at], "\n\r"); i >= 0 {
		w.from += i + 1
	} else if w.from > 0 {
		w.cut = true
		for w.from < at && !utf8.RuneStart(x.content[w.from]) {
			w.from++
		}
	}
	w.to = min(len(x.content), at+4*excerptWidth)
	if i := bytes.IndexAny(x.content[at:w.to], "\n\r"); i >= 0 {
		w.to = at + i
	}
	return w
}

// walk writes the spans of the window, and what may be written between them.
func (w *window) walk(spans []span) {
	next := sort.Search(len(spans), func(i int) bool { return spans[i].start >= w.from })
	hides := next > 0 && spans[next-1].hides
	if w.cut || next > 0 && spans[next-1].end > w.from { // the window begins in the midst of something
		w.write("… ")
		hides = true
	}
	offset := w.from
	for ; next < len(spans) && spans[next].start < w.to; next++ {
		s := spans[next]
		if s.start < offset { // two spans at one place: the first one stands
			continue
		}
		w.between(offset, s.start, hides)
		w.point(s.start, s.end)
		w.shows = true
		w.write(string(w.content[s.start:min(s.end, w.to)]))
		offset, hides = s.end, s.hides
	}
	if offset < w.to {
		w.between(offset, w.to, hides)
	}
}

// separator is what stands between a key and a value that is hidden.
var separator = regexp.MustCompile(`^\]*[ \t]*[:=]?[ \t]*`)

// punctuation is what may be shown anywhere but in the place of a hidden value.
const punctuation = " \t{}[]:,=\"'-"

// between writes what stands between two spans.
func (w *window) between(start, end int, hides bool) {
	w.point(start, end)
	gap := string(w.content[start:end])
	if !hides && strings.Trim(gap, punctuation) == "" {
		w.write(gap)
		return
	}
	lead := separator.FindString(gap)
	if !hides {
		lead = gap[:len(gap)-len(strings.TrimLeft(gap, punctuation))]
	}
	w.write(lead)
	if len(lead) == len(gap) {
		return
	}
	if w.place > start+len(lead) { // it is pointed at what is not shown
		w.caret = min(w.caret, w.runes)
	}
	w.write("…")
	if end < w.to {
		w.write(" ")
	}
}

// point notes where the place is going to be, if it is in this part.
func (w *window) point(start, end int) {
	if w.place >= start && w.place <= end {
		w.caret = w.runes + utf8.RuneCount(w.content[start:w.place])
	}
}

func (w *window) write(s string) {
	for _, r := range s {
		w.out.WriteRune(visible(r))
		w.runes++
	}
}
