package pane

import (
	"bytes"
	"context"
	"slices"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/compress"

	"github.com/gridloom/gridloom"
)

// SnapshotRow is the state of one series at a place of the log, encoded by package window.
type SnapshotRow struct {
	Meter    string
	Register gridloom.RegisterID
	State    []byte
	Dials    int   // with which it was folded, 0: the default
	Rating   int64 // likewise
}

// WriteSnapshot stores the states of all series after the frames up to log
// sequence seq, whose greatest log time is logTime. Rows may be empty: nothing was
// seen yet.
func (s *Store) WriteSnapshot(ctx context.Context, where Where, rows []SnapshotRow, logTime gridloom.Millis, seq uint64) (Segment, error) {
	seg := Segment{
		Kind: KindSnapshot, Rows: int64(len(rows)), Epoch: where.Epoch,
		MinSeq: seq, MaxSeq: seq, MinLogged: logTime, MaxLogged: logTime,
	}
	return s.writeRows(ctx, where, seg, func(w *writer, seg *Segment) ([]byte, error) {
		order := w.sort.arrange(len(rows), func(i int) (gridloom.RegisterID, string) { return rows[i].Register, rows[i].Meter },
			func(i, j int32) int { return bytes.Compare(rows[i].State, rows[j].State) })
		seg.setSeries(&order)
		return w.encodeSnapshot(where, rows, order.rows)
	})
}

// snapshotRowBytes is what a row takes beside its meter and state: their lengths and the indexes.
const snapshotRowBytes = 16

func (w *writer) encodeSnapshot(where Where, rows []SnapshotRow, order []int32) ([]byte, error) {
	e := &w.encoder
	if err := e.begin(snapshotFields(), notesOf(KindSnapshot, where, 0), compress.Codecs.Uncompressed); err != nil {
		return nil, err
	}
	size := 0
	for i := range rows {
		size += len(rows[i].Meter) + len(rows[i].State) + snapshotRowBytes
	}
	e.out = slices.Grow(e.out, size) // what grows by appending leaves as much behind
	var register, meter []string
	var state [][]byte
	var dials, rating []int64
	for lo := 0; lo < len(order); lo += groupRows {
		register, meter, state, dials, rating = register[:0], meter[:0], state[:0], dials[:0], rating[:0]
		for _, i := range order[lo:min(lo+groupRows, len(order))] {
			r := &rows[i]
			register, meter, state = append(register, r.Register.Info().Code), append(meter, r.Meter), append(state, r.State)
			dials, rating = append(dials, int64(r.Dials)), append(rating, r.Rating)
		}
		e.startGroup(len(register))
		e.strings(register)
		e.strings(meter)
		e.blobs(state, nil)
		e.ints(dials)
		e.ints(rating)
	}
	return e.finish(), nil
}

// ReadSnapshot calls fn for every row of a snapshot, in file order. Pointer,
// strings and errors are as with ReadRaw; State is valid during the call only.
func (s *Store) ReadSnapshot(ctx context.Context, seg Segment, fn func(*SnapshotRow) error) error {
	return s.readRows(ctx, seg, KindSnapshot, nil, func(data []byte) (tally, error) {
		return decodeSnapshot(ctx, s.mem, data, fn)
	})
}

func decodeSnapshot(ctx context.Context, mem memory.Allocator, data []byte, fn func(*SnapshotRow) error) (tally, error) {
	return decodeGroups(ctx, mem, data, snapshotFields()[:snapState+1], &Selector{}, false, func(d *decoder, c *chosen) error {
		dials, rating, err := d.snapshotLimits(c)
		if err != nil {
			return err
		}
		state, err := d.chunk(snapState)
		if err != nil {
			return err
		}
		var r SnapshotRow
		return state.blobs(c.lo, c.hi, func(row int, v []byte) error {
			i := row - c.lo
			r = SnapshotRow{Meter: c.meters[c.meter[i]], Register: c.registers[c.register[i]], State: v, Dials: int(dials[i]), Rating: rating[i]}
			return call(d, fn, &r)
		})
	})
}

// snapshotLimits decodes dials and rating of the rows of c: zeros in a file of an earlier build, which has no such columns.
func (d *decoder) snapshotLimits(c *chosen) (dials, rating []int64, err error) {
	dials, rating = make([]int64, c.hi-c.lo), make([]int64, c.hi-c.lo)
	schema, all := d.r.MetaData().Schema, snapshotFields()
	if schema.NumColumns() <= snapRating || schema.Column(snapDials).Name() != all[snapDials].name || schema.Column(snapRating).Name() != all[snapRating].name {
		return dials, rating, nil
	}
	d.fields = all
	if err := d.ints(snapDials, dials, c); err != nil {
		return nil, nil, err
	}
	return dials, rating, d.ints(snapRating, rating, c)
}
