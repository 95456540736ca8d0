package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// holdRecords puts records into the tails of their partitions.
func (w *world) holdRecords(kind pane.Kind, rows ...pane.Record) {
	for _, r := range rows {
		_, id := pane.SplitRecordKey(r.Key)
		p := gridloom.PartitionOf(id, testPartitions)
		if w.records[p] == nil {
			w.records[p] = map[pane.Kind][]pane.Record{}
		}
		w.records[p][kind] = append(w.records[p][kind], r)
	}
}

// commitRecords moves what the tails hold of a kind into a segment of each partition.
func (w *world) commitRecords(kind pane.Kind) {
	w.t.Helper()
	for p := range w.manifests {
		if len(w.records[p][kind]) == 0 {
			continue
		}
		seg, err := w.store.WriteRecords(context.Background(), w.where(p), kind, 0, w.records[p][kind])
		if err != nil {
			w.t.Fatal(err)
		}
		w.manifests[p].Recent = append(w.manifests[p].Recent, seg)
		w.records[p][kind] = nil
		w.swap(p)
	}
}

// Append implements Log: what is appended is in the tail at once, as an owner has read it that is asked later.
func (w *world) Append(_ context.Context, p int, frame []byte) (uint64, error) {
	if w.beforeAppend != nil {
		w.beforeAppend()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.onAppend != nil {
		if err := w.onAppend(p); err != nil {
			return 0, err
		}
	}
	var c wire.Columns
	info, err := wire.DecodeFrame(frame, &c)
	if err != nil {
		return 0, err
	}
	if info.Partition != p || info.Generation != w.cfg.Generation {
		return 0, fmt.Errorf("frame of generation %d partition %d appended to %d", info.Generation, info.Partition, p)
	}
	list, err := wire.DecodeRecords(info.Opaque)
	if err != nil {
		return 0, err
	}
	w.sequence++
	kind := map[wire.Kind]pane.Kind{wire.KindRegistry: pane.KindRegistry, wire.KindEdit: pane.KindAudit}[info.Kind]
	for i, r := range list {
		w.holdRecords(kind, pane.Record{Key: r.Key, Sequence: w.sequence, Place: uint32(i), LoggedAt: w.logged, Body: slices.Clone(r.Body)})
	}
	for i := range c.Len() {
		r := c.Reading(i)
		r.Sequence, r.Place, r.LoggedAt = w.sequence, uint32(i), w.logged
		w.hold(nil, []gridloom.Reading{r})
	}
	return w.sequence, nil
}

// TestRecordsOfManifestAndTail: what is committed and what owners hold, of all keys or of some, as of any time.
func TestRecordsOfManifestAndTail(t *testing.T) {
	w := newWorld(t)
	var all []pane.Record
	for i := range 60 {
		r := pane.Record{Key: fmt.Sprintf("meter/m%d", i%7), Sequence: uint64(i/2 + 1), Place: uint32(i % 2), LoggedAt: t0 + gridloom.Millis(i/2), Body: fmt.Appendf(nil, `{"i":%d}`, i)}
		if i%5 == 0 {
			r.Key = fmt.Sprintf("node/n%d", i%3)
		}
		all = append(all, r)
		w.holdRecords(pane.KindRegistry, r)
		w.holdRecords(pane.KindAudit, pane.Record{Key: r.Key, Sequence: r.Sequence, LoggedAt: r.LoggedAt, Body: []byte(`"audit"`)})
		if i == 20 || i == 41 {
			w.commitRecords(pane.KindRegistry)
		}
	}
	s, err := New(w.cfg, w.store, w, w, w)
	if err != nil {
		t.Fatal(err)
	}
	f := func(keys []string, asOf gridloom.Millis) {
		t.Helper()
		var want []pane.Record
		for _, r := range all {
			if (keys == nil || slices.Contains(keys, r.Key)) && (asOf == 0 || r.LoggedAt <= asOf) {
				want = append(want, r)
			}
		}
		slices.SortFunc(want, func(a, b pane.Record) int { return pane.CompareRecords(&a, &b) })
		calls := w.tailCalls
		got, silent, err := s.records(t.Context(), pane.KindRegistry, keys, asOf, false)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || silent || d != "" {
			t.Errorf("records of %v as of %v: %v (-want +got):\n%s", keys, asOf, err, d)
		}
		if len(keys) == 1 && w.tailCalls != calls+1 {
			t.Errorf("of one key %d owners were asked", w.tailCalls-calls)
		}
	}
	f(nil, 0)
	f(nil, t0+12)
	f(nil, t0-1)
	f([]string{"meter/m3"}, 0)
	f([]string{"meter/m3"}, t0+20)
	f([]string{"meter/m1", "meter/m6", "node/n0", "node/none"}, 0)
	f([]string{}, 0)
	s.limits.Records = 10
	if _, _, err := s.records(t.Context(), pane.KindRegistry, nil, 0, false); !errors.Is(err, gridloom.ErrInvalid) || !strings.Contains(err.Error(), "10 records") {
		t.Errorf("beyond the limit: %v", err)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	w := newWorld(t)
	w.cfg.Log, w.cfg.Generation = w, 4
	s, err := New(w.cfg, w.store, w, w, w)
	if err != nil {
		t.Fatal(err)
	}
	p := gridloom.PartitionOf("m1", testPartitions)
	seq, err := s.write(t.Context(), p, wire.KindRegistry, nil, []wire.Record{{Key: "meter/m1", Body: []byte("{}")}})
	if err != nil || seq == 0 {
		t.Fatal(seq, err)
	}
	got, _, err := s.records(t.Context(), pane.KindRegistry, []string{"meter/m1"}, 0, false)
	if err != nil || len(got) != 1 || got[0].Sequence != seq {
		t.Errorf("%+v, %v; want the record of frame %d", got, err, seq)
	}
	many := make([]wire.Record, 20)
	for i := range many {
		many[i] = wire.Record{Key: "meter/m1", Body: make([]byte, wire.MaxRecordBody)}
	}
	if _, err := s.write(t.Context(), p, wire.KindRegistry, nil, many); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("too much at once: %v", err)
	}
	if _, err := s.write(t.Context(), p, wire.KindRegistry, nil, []wire.Record{{Key: "meter/m1"}}); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("a record without a body: %v", err)
	}
	w.onAppend = func(int) error { return fmt.Errorf("%w: the log is full", gridloom.ErrUnavailable) }
	_, err = s.write(t.Context(), p, wire.KindRegistry, nil, []wire.Record{{Key: "meter/m1", Body: []byte("{}")}})
	if pr := problemOf(err); pr.status != 503 || pr.retry == 0 || !strings.Contains(pr.detail, "the log is full") {
		t.Errorf("a full log is told as %+v", pr)
	}
	s.cfg.Log = nil
	if _, err := s.write(t.Context(), p, wire.KindRegistry, nil, nil); problemOf(err).status != 503 {
		t.Errorf("without a log: %v", err)
	}
}
