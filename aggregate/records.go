package aggregate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// recordKinds are the kinds of segments that hold records: those of registry frames and those
// of edits.
var recordKinds = [...]pane.Kind{pane.KindRegistry, pane.KindAudit}

// recordBytes is what a record counts against the commit bounds beside its key and body.
const recordBytes = 80

// records are those that are not yet in a segment, by their place in recordKinds, in the
// order of the log.
type records [len(recordKinds)][]pane.Record

// of returns those of a kind, which is one of recordKinds.
func (r *records) of(kind pane.Kind) *[]pane.Record { return &r[slices.Index(recordKinds[:], kind)] }

// count returns how many they are.
func (r *records) count() (n uint64) {
	for i := range r {
		n += uint64(len(r[i]))
	}
	return n
}

// kindOfRecords returns the kind of the records of a frame.
func kindOfRecords(k wire.Kind) pane.Kind {
	if k == wire.KindRegistry {
		return pane.KindRegistry
	}
	return pane.KindAudit
}

// applyRecords keeps the records of frame f for the next commit. What its writer could not
// mean stops the partition: nothing is skipped.
func (p *partition) applyRecords(f *Frame, info *wire.FrameInfo) error {
	list, err := wire.DecodeRecords(info.Opaque)
	if errors.Is(err, wire.ErrNewer) {
		return fmt.Errorf("frame %d of partition %d was written by a newer gridloom, start that: %w", f.Sequence, p.id, err)
	}
	if err != nil {
		return fmt.Errorf("frame %d of partition %d: %w", f.Sequence, p.id, err)
	}
	kind := kindOfRecords(info.Kind)
	for place := range list {
		r := pane.Record{
			Key: list[place].Key, Body: append([]byte(nil), list[place].Body...), // the frame's memory goes
			Sequence: f.Sequence, Place: uint32(place), LoggedAt: p.logTime,
		}
		p.current.addRecord(kind, r)
		if kind == pane.KindRegistry {
			if err := p.register(&r); err != nil {
				return err
			}
		}
		p.metrics.records.WithLabelValues(string(kind)).Inc()
	}
	return nil
}

// addRecord appends a record of a kind.
func (t *tail) addRecord(kind pane.Kind, r pane.Record) {
	list := t.records.of(kind)
	*list = append(*list, r)
	t.bytes += recordBytes + int64(len(r.Key)+len(r.Body))
}

// eachTailRecords calls f with the uncommitted records of a kind, oldest first.
func (p *partition) eachTailRecords(kind pane.Kind, f func(list []pane.Record)) {
	for _, t := range []*tail{p.frozen, p.current} {
		if t != nil {
			f(*t.records.of(kind))
		}
	}
}

// eachRecord calls f for every record of a kind that sel's Keys and After choose, committed or not: stored ones
// segment by segment, then the others in the order of the log. The record may be kept.
func (p *partition) eachRecord(ctx context.Context, kind pane.Kind, sel pane.Selector, f func(*pane.Record) error) error {
	err := p.eachSegment(ctx, kind, sel, func(seg pane.Segment) error {
		return p.store.ReadRecords(ctx, seg, sel, f)
	})
	if err != nil {
		return fmt.Errorf("%s records: %w", kind, err)
	}
	p.eachTailRecords(kind, func(list []pane.Record) {
		for _, r := range sel.ChooseRecords(nil, list) {
			if err == nil {
				err = f(&r)
			}
		}
	})
	return err
}

// saveRecords writes the records of a commit, as save does the rest of it.
func (p *partition) saveRecords(ctx context.Context, c *commit) error {
	for i, kind := range recordKinds {
		if c.recordsDone[i] || len(c.records[i]) == 0 {
			continue
		}
		seg, err := p.store.WriteRecords(ctx, c.where, kind, 0, c.records[i])
		if err != nil {
			return fmt.Errorf("write %s records: %w", kind, err)
		}
		c.segments, c.recordsDone[i] = append(c.segments, seg), true
		p.cfg.Fault("commit." + string(kind))
	}
	return nil
}
