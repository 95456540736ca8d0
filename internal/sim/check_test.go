package sim

import (
	"maps"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// view is what a query makes of an owner's answer: stored panes and readings under the tail's.
type view struct {
	panes    map[paneAt]gridloom.Pane
	held     map[gridloom.Identity][]gridloom.Reading
	readings map[gridloom.Identity]gridloom.Reading // of held those that count
	rows     map[rowAt]bool
	twice    *gridloom.Reading // a row of the log that stands in it twice
	bounds   pane.Bounds
	expired  map[rowAt]bool // rows that the owner has declared expired and not committed
}

type paneAt struct {
	series gridloom.Series
	start  gridloom.Millis
}

type rowAt struct {
	sequence uint64
	place    uint32
}

// ask asks an owner for all of its partition, or for one meter, and compares the answer
// with what the log has held. It reports whether there was an answer that stands.
func (w *world) ask(o *owner, meter string) bool {
	var sel pane.Selector
	if meter != "" {
		sel.Meters = []string{meter}
	}
	goal := w.log.end(o.partition)
	if o.machine.Place().NextSeq <= goal.Seq && w.chance(300) {
		// One that is behind has to refuse: what was acknowledged is not in its answer.
		if _, err := o.machine.Answer(goal, sel); err == nil {
			w.fail("owner %s of partition %d answers for frame %d and has read to %d", o.name, o.partition, goal.Seq, o.machine.Place().NextSeq)
		}
		return true
	}
	for o.machine.Place().NextSeq <= goal.Seq {
		if !o.read(1000) || !slices.Contains(w.owners, o) {
			return false
		}
	}
	var tail *pane.Tail
	if !o.do("answer", func() (err error) {
		tail, err = o.machine.Answer(goal, sel)
		return err
	}) {
		return false
	}
	v, err := w.viewOf(tail, sel)
	now := w.heads.current(o.partition).head
	stands := protocol.Stands(&tail.Head, &now) == nil
	if w.chance(700) && len(w.slow) < 4 {
		w.slow = append(w.slow, slowQuery{tail, sel, o.partition, w.now + queryDeadline, stands && w.chance(500)})
	}
	if !stands {
		return false // the query asks again
	}
	if err != nil {
		w.fail("answer of owner %s of partition %d: %v", o.name, o.partition, err)
	}
	w.stats.Answers++
	w.note("owner %s answers for %q: %d panes, %d readings", o.name, meter, len(v.panes), len(v.readings))
	for _, r := range o.machine.Expired() {
		v.expired[rowAt{r.Sequence, r.Place}] = true
	}
	w.compare(o.partition, meter, v)
	return true
}

// queryDeadline is how long a query may take: less than the lease of what it reads, and
// long enough for several commits.
const (
	readerLease   = 80 * gridloom.Minute
	queryDeadline = 75 * gridloom.Minute
)

// slowQuery has its answer and has not read all yet that it names.
type slowQuery struct {
	tail      *pane.Tail
	sel       pane.Selector
	partition int
	deadline  gridloom.Millis
	stood     bool // it has read the manifest, and the head was of the same owner after that: it does not ask again
}

// finish reads on: no file may be gone before the deadline, whoever owns the partition by
// then, unless the query has yet to find out that its answer does not stand.
func (q *slowQuery) finish(w *world) {
	if w.now > q.deadline {
		return
	}
	_, err := w.viewOf(q.tail, q.sel)
	if now := w.heads.current(q.partition).head; err != nil && (q.stood || protocol.Stands(&q.tail.Head, &now) == nil) {
		w.fail("a query of partition %d cannot read on, %s before its deadline: %v", q.partition, (q.deadline - w.now).Duration(), err)
	}
}

// viewOf reads the manifest of an answer's head and puts the answer on top.
func (w *world) viewOf(t *pane.Tail, sel pane.Selector) (*view, error) {
	v := &view{map[paneAt]gridloom.Pane{}, map[gridloom.Identity][]gridloom.Reading{}, map[gridloom.Identity]gridloom.Reading{}, map[rowAt]bool{}, nil, t.Bounds, map[rowAt]bool{}}
	if t.Head.Manifest.Path != "" {
		m, err := w.reader.ReadManifest(w.ctx, t.Head.Manifest)
		if err != nil {
			return nil, err
		}
		v.bounds = v.bounds.Later(m.Bounds())
		for seg, err := range w.reader.Segments(w.ctx, m, pane.KindPane, sel) {
			if err == nil {
				err = w.reader.ReadPanes(w.ctx, seg, sel, pane.AllColumns, func(p *gridloom.Pane) error {
					k := paneAt{gridloom.Series{Meter: p.Meter, Register: p.Register}, p.Start}
					if old, ok := v.panes[k]; !ok || p.Revision >= old.Revision {
						kept := *p
						kept.Carry = slices.Clone(p.Carry)
						v.panes[k] = kept
					}
					return nil
				})
			}
			if err != nil {
				return nil, err
			}
		}
		for seg, err := range w.reader.Segments(w.ctx, m, pane.KindRaw, sel) {
			if err == nil {
				err = w.reader.ReadRaw(w.ctx, seg, sel, func(r *gridloom.Reading) error { v.reading(r); return nil })
			}
			if err != nil {
				return nil, err
			}
		}
	}
	for i := range t.Panes {
		p := &t.Panes[i]
		v.panes[paneAt{gridloom.Series{Meter: p.Meter, Register: p.Register}, p.Start}] = *p
	}
	for i := range t.Readings {
		v.reading(&t.Readings[i])
	}
	for id, rows := range v.held {
		if r, ok := winner(rows); ok {
			v.readings[id] = r
		}
	}
	maps.DeleteFunc(v.panes, func(k paneAt, _ gridloom.Pane) bool { return !v.tells(k) })
	return v, nil
}

// tells reports whether a pane is to be told as the fold has it: it is kept, and readings after a bound
// of retention cannot have changed it, as they would the last of a day and, of a counter, the undecided.
func (v *view) tells(at paneAt) bool {
	start := at.start
	midnight := start.Floor(gridloom.Day) + gridloom.Day
	return start >= v.bounds.RawFrom || at.series.Register.Info().Kind != gridloom.Counter && start >= v.bounds.PanesFrom && start+worldWindow.Width <= midnight-worldWindow.Lookahead()
}

func (v *view) reading(r *gridloom.Reading) {
	if r.Start < v.bounds.RawFrom {
		return
	}
	at := rowAt{r.Sequence, r.Place}
	if v.rows[at] {
		kept := *r
		v.twice = &kept
	}
	v.rows[at] = true
	v.held[r.Identity()] = append(v.held[r.Identity()], *r)
}

// compare compares a view of a partition, or of one of its meters, with the ledger.
func (w *world) compare(partition int, meter string, v *view) {
	t := &w.ledger.parts[partition]
	if v.twice != nil {
		w.stats.Duplicated++
		w.fail("partition %d answers a row twice: %s", partition, told(v.twice))
	}
	for _, id := range t.ids {
		if meter != "" && id.Meter != meter || id.Start < v.bounds.RawFrom {
			continue
		}
		if r, ok := v.readings[id]; !ok || r.Order < t.promised[id] {
			w.stats.Lost++
			w.fail("partition %d has lost %v, which was acknowledged with order %s (it answers %s)", partition, id, t.promised[id], told(&r))
		}
	}
	readings, panes := 0, 0
	for _, s := range t.series {
		if meter != "" && s.Meter != meter {
			continue
		}
		readings += w.compareReadings(partition, s, v)
		panes += w.comparePanes(partition, s, v)
	}
	if readings != len(v.readings) {
		w.fail("partition %d answers %d readings, the log has held %d", partition, len(v.readings), readings)
	}
	for k, p := range v.panes { // those that are left are none of ours
		if !window.IsEmpty(&p) {
			panes--
		} else {
			delete(v.panes, k)
		}
	}
	if panes != 0 {
		w.fail("partition %d answers %d panes, the fold of the log has %d", partition, len(v.panes), len(v.panes)+panes)
	}
}

// compareReadings compares the winners of a series and returns their number.
func (w *world) compareReadings(partition int, s gridloom.Series, v *view) (n int) {
	t := &w.ledger.parts[partition]
	seen := map[gridloom.Identity]bool{}
	for i := range t.rows[s] {
		id := gridloom.Identity{Series: s, Start: t.rows[s][i].Start, Length: t.rows[s][i].Length}
		if seen[id] || id.Start < v.bounds.RawFrom {
			continue
		}
		seen[id] = true
		want, counts := winner(t.held[id])
		if !counts {
			if got, ok := v.readings[id]; ok {
				w.fail("partition %d answers %s, which was undone", partition, told(&got))
			}
			continue
		}
		if got, ok := v.readings[id]; !ok || !got.SameValue(&want) || got.Order != want.Order {
			w.fail("partition %d answers %s, the log has held %s", partition, told(&got), told(&want))
		}
		n++
	}
	return n
}

// comparePanes compares the panes of a series with the fold of its rows and returns
// their number.
func (w *world) comparePanes(partition int, s gridloom.Series, v *view) (n int) {
	t := &w.ledger.parts[partition]
	rows := slices.DeleteFunc(slices.Clone(t.rows[s]), func(r window.Reading) bool {
		at := rowAt{r.Sequence, r.Place}
		return t.expired[at] || v.expired[at]
	})
	worldWindow.Fold(s.Register.Info().Kind, standing(rows), t.logTime-worldWindow.Lateness, func(want *gridloom.Pane) {
		if !v.tells(paneAt{s, want.Start}) {
			return
		}
		n++
		got := v.panes[paneAt{s, want.Start}]
		got, exp := clean(got), clean(*want)
		if !window.SamePane(&got, &exp) {
			w.fail("partition %d answers a pane of %s %s that is not the fold of the log:\n got %+v\nwant %+v", partition, s.Meter, s.Register, got, exp)
		}
	})
	return n
}

// clean removes what may depend on where commits fell.
func clean(p gridloom.Pane) gridloom.Pane {
	p.Quality &^= gridloom.Late | gridloom.Historical
	return p
}

// conclude lets everything recover, and checks what has become of every promise.
func (w *world) conclude() {
	w.calm = true
	w.note("everything recovers")
	for len(w.late) > 0 {
		w.deliverLate(0)
	}
	for _, b := range w.bridges {
		if b.step = 0; b.machine == nil {
			b.start()
		}
	}
	w.log.step = 0
	for _, s := range w.stations {
		s.step = 0
		if s.machine == nil {
			s.start()
		}
		s.check()
	}
	w.drain()
	for p := range partitions {
		w.concludePartition(p)
	}
	for _, s := range w.stations {
		for _, b := range s.batches {
			if !b.acked {
				w.fail("batch %d/%d of %s was never acknowledged", b.epoch, b.seq, s.name)
			}
		}
		if err := s.machine.Close(); err != nil {
			w.fail("%s does not stop: %v", s.name, err)
		}
		if s.files.open != 0 {
			w.fail("%s leaves %d files open", s.name, s.files.open)
		}
	}
}

// drain lets everything that is on its way arrive.
func (w *world) drain() {
	for range 1000 {
		moved := false
		for _, s := range w.stations {
			if s.link != nil && s.link.server == nil && len(s.link.down) == 0 {
				s.lose()
			}
			if s.link == nil {
				s.connect(w.bridges[0])
			}
			for s.publish() {
				moved = true
			}
		}
		for _, b := range w.bridges {
			for _, l := range slices.Clone(b.links) {
				for l.server != nil && len(l.up) > 0 {
					l.arrive(false)
					moved = true
				}
			}
			for lane := range b.machine.Lanes() {
				for b.seal(lane) || b.frames[lane] != nil {
					b.store(lane)
					moved = true
				}
			}
			for _, l := range slices.Clone(b.links) {
				moved = l.answer() || moved
			}
		}
		for _, s := range w.stations {
			for s.link != nil && s.hear() {
				moved = true
			}
		}
		if !moved {
			return
		}
	}
	w.fail("what is on its way never arrives")
}

// concludePartition lets everybody who takes the partition for his own go on to the
// end, and asks a last owner, before and after its commit, and the one after it.
func (w *world) concludePartition(p int) {
	last := w.newOwner(p)
	if !last.acquire() {
		w.fail("partition %d cannot be claimed", p)
	}
	for _, o := range slices.Clone(w.owners) {
		if o.partition != p || o == last {
			continue
		}
		if o.acquired { // a zombie: whatever it does must come to nothing
			o.step = 0
			o.read(1000)
			if slices.Contains(w.owners, o) && o.prepare(true) {
				if o.save() {
					w.fail("owner %s of partition %d commits, and owner %s has claimed it since", o.name, p, last.name)
				}
			}
		}
		if slices.Contains(w.owners, o) {
			o.gone("ends")
		}
	}
	w.mustAnswer(last, "before the last commit")
	if last.prepare(true) && !last.save() {
		w.fail("the last commit of partition %d fails", p)
	}
	last.gone("ends")
	next := w.newOwner(p)
	if !next.acquire() {
		w.fail("partition %d cannot be claimed again", p)
	}
	w.mustAnswer(next, "after a restart")
	if h := next.machine.Head(); h.Manifest.Path != "" {
		w.ledger.checkCounts(&h)
	}
	next.gone("ends")
}

func (w *world) mustAnswer(o *owner, when string) {
	w.note("%s", when)
	if !w.ask(o, "") {
		w.fail("partition %d does not answer %s", o.partition, when)
	}
}
