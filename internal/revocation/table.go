package revocation

import "container/heap"

// chunk is how many entries are made room for at once: a table that grows never moves
// those that are there.
const chunk = 4096

// entry is one revocation, one drop of facts or one event that was accepted. It has no
// pointers, so that the garbage collector does not walk a million of them, and 40 bytes.
type entry struct {
	key    digest
	before int64  // milliseconds
	told   int64  // when it was told last; milliseconds
	place  uint32 // in the order
	issuer uint16 // number of its name
	kind   Kind   // zero: this slot is free
}

// table is entries by key, and in the order in which they were told: a heap, since
// those of other replicas come later than they were told. What was told longest ago is
// always at its top, so nothing is ever searched for.
type table struct {
	index map[digest]uint32 // to slots
	slots []*[chunk]entry
	used  uint32 // slots that were ever given out
	free  []uint32
	order []uint32 // slots
}

func (t *table) at(slot uint32) *entry { return &t.slots[slot/chunk][slot%chunk] }

// find returns the entry of that key, or nil.
func (t *table) find(key digest) *entry {
	slot, ok := t.index[key]
	if !ok {
		return nil
	}
	return t.at(slot)
}

// put adds an entry whose key is not there.
func (t *table) put(e entry) {
	if t.index == nil {
		t.index = map[digest]uint32{}
	}
	slot := t.slot()
	*t.at(slot) = e
	t.index[e.key] = slot
	heap.Push((*byTold)(t), slot)
}

// slot returns one that is free.
func (t *table) slot() uint32 {
	if last := len(t.free) - 1; last >= 0 {
		slot := t.free[last]
		t.free = t.free[:last]
		return slot
	}
	if int(t.used) == len(t.slots)*chunk {
		t.slots = append(t.slots, new([chunk]entry))
	}
	t.used++
	return t.used - 1
}

// tell notes that an entry of the table was told again, at a later time.
func (t *table) tell(e *entry, told int64) {
	e.told = told
	heap.Fix((*byTold)(t), int(e.place))
}

// oldest returns the entry that was told longest ago, or nil.
func (t *table) oldest() *entry {
	if len(t.order) == 0 {
		return nil
	}
	return t.at(t.order[0])
}

// remove takes an entry out, and returns what it was.
func (t *table) remove(e *entry) entry {
	was := *e
	slot := heap.Remove((*byTold)(t), int(e.place)).(uint32) //nolint:forcetypeassert // Push puts nothing else in
	delete(t.index, was.key)
	*t.at(slot) = entry{}
	if t.free = append(t.free, slot); len(t.order) == 0 {
		*t = table{} // a map keeps its room for ever
	}
	return was
}

func (t *table) len() int { return len(t.order) }

// byTold is a table as container/heap wants it.
type byTold table

func (b *byTold) told(i int) int64 { return (*table)(b).at(b.order[i]).told }

func (b *byTold) Len() int           { return len(b.order) }
func (b *byTold) Less(i, j int) bool { return b.told(i) < b.told(j) }

func (b *byTold) Swap(i, j int) {
	b.order[i], b.order[j] = b.order[j], b.order[i]
	b.set(i)
	b.set(j)
}

func (b *byTold) Push(slot any) {
	b.order = append(b.order, slot.(uint32)) //nolint:forcetypeassert // nothing else is put in
	b.set(len(b.order) - 1)
}

func (b *byTold) Pop() any {
	last := len(b.order) - 1
	slot := b.order[last]
	b.order = b.order[:last]
	return slot
}

// set tells the entry at a place where it is.
func (b *byTold) set(i int) { (*table)(b).at(b.order[i]).place = uint32(i) } //nolint:gosec // at most a million
