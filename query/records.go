package query

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// Log takes what is written through the API. Append returns the sequence of a frame once the
// log has it, and never for a log that is not the one that the owners read. It fails with
// ErrUnavailable if the log is full or does not answer: then the frame may be stored all the same.
type Log interface {
	Append(ctx context.Context, partition int, frame []byte) (seq uint64, err error)
}

// maxFrameBytes bounds a frame that is written here, well below what a NATS server takes.
const maxFrameBytes = 512 << 10

// write appends one frame to a partition's log and returns its sequence. rows may be nil. Whoever asks an owner from
// then on gets an answer that knows the frame.
func (s *Server) write(ctx context.Context, partition int, kind wire.Kind, rows *wire.Columns, records []wire.Record) (seq uint64, err error) {
	if s.cfg.Log == nil {
		return 0, &problem{kind: problemUnavailable, status: http.StatusServiceUnavailable, detail: "this server has no log to write to", mend: "ask one that was started with a log"}
	}
	var opaque []byte
	for i := range records {
		if err := records[i].Check(); err != nil {
			return 0, err
		}
		opaque = wire.AppendRecord(opaque, &records[i])
	}
	frame := wire.AppendFrame(nil, wire.FrameInfo{Kind: kind, Generation: s.cfg.Generation, Partition: partition, Opaque: opaque}, rows)
	if len(frame) > maxFrameBytes {
		return 0, overLimit("", fmt.Sprintf("what is to be written takes %d bytes in the log, the limit is %d", len(frame), maxFrameBytes), "write less at once")
	}
	if seq, err = s.cfg.Log.Append(ctx, partition, frame); err != nil {
		return 0, fmt.Errorf("write to partition %d: %w", partition, err)
	}
	s.metrics.written.WithLabelValues(kind.String()).Inc()
	return seq, nil
}

// partitionOfKey returns where the records of a key lie.
func (s *Server) partitionOfKey(key string) int {
	_, id := pane.SplitRecordKey(key)
	return gridloom.PartitionOf(id, s.cfg.Partitions)
}

// records returns the records of a kind that were logged at asOf or before (0: all), of sorted keys or of all (nil),
// sorted by key and as the log has them: what manifests list and owners hold on top. With partial, what silent owners hold is
// left out.
func (s *Server) records(ctx context.Context, kind pane.Kind, keys []string, asOf gridloom.Millis, partial bool) (list []pane.Record, silent bool, err error) {
	return s.recordsAfter(ctx, kind, keys, 0, asOf, partial)
}

// recordsAfter is records for those that come after a place in the log.
func (s *Server) recordsAfter(ctx context.Context, kind pane.Kind, keys []string, after uint64, asOf gridloom.Millis, partial bool) (list []pane.Record, silent bool, err error) {
	sel := pane.Selector{Keys: keys, After: after, Only: kind}
	snaps, err := s.snapshots(ctx, sel, partial)
	if err != nil {
		return nil, false, err
	}
	for _, snap := range snaps {
		if list, err = s.recordsOf(ctx, snap, sel, list); err != nil {
			return nil, false, err
		}
	}
	if asOf != 0 {
		list = slices.DeleteFunc(list, func(r pane.Record) bool { return r.LoggedAt > asOf })
	}
	slices.SortFunc(list, func(a, b pane.Record) int { return pane.CompareRecords(&a, &b) })
	return list, isPartial(snaps), nil
}

// recordsOf appends the records of one partition.
func (s *Server) recordsOf(ctx context.Context, snap *snapshot, sel pane.Selector, list []pane.Record) ([]pane.Record, error) {
	if snap.manifest != nil {
		for seg, err := range s.store.Segments(ctx, snap.manifest, sel.Only, sel) {
			if err != nil {
				return nil, fmt.Errorf("partition %d: %w", snap.partition, err)
			}
			err = s.store.ReadRecords(ctx, seg, sel, func(r *pane.Record) error {
				if len(list) == s.limits.Records {
					return overLimit("", fmt.Sprintf("the answer is made of more than %d records", s.limits.Records), "name what you ask about")
				}
				list = append(list, *r)
				return nil
			})
			if err != nil {
				return nil, segmentFailed(&scanSegment{Segment: seg, partition: snap.partition}, err)
			}
		}
	}
	if snap.tail != nil {
		list = append(list, snap.tail.Records...)
	}
	return list, nil
}
