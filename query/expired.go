package query

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// reasonExpired is the reason under which readings are listed that came when their time was
// past retention. Ingest has acknowledged them; the owners of partitions keep them apart.
const reasonExpired = "EXPIRED"

// Page numbers of expired readings are places in the log: the sequence of the frame, times more
// than a frame holds readings, plus the place in it. They stay below 2^53, so that JSON keeps
// them, for 2^36 frames.
const placesPerFrame = 1 << 17

func pageOf(r *gridloom.Reading) uint64 {
	return r.Sequence*placesPerFrame + min(uint64(r.Place), placesPerFrame-1)
}

// expired returns up to limit of the committed expired readings before a page number (0: from
// the newest), newest first. It reads the segments that may hold one, newest first.
func (s *Server) expired(ctx context.Context, before uint64, limit int) ([]gridloom.Reject, error) {
	if before == 0 {
		before = math.MaxUint64
	}
	var segments []scanSegment
	for _, p := range s.allPartitions() {
		head, _, err := s.heads.LoadHead(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("partition %d: head: %w", p, err)
		}
		m, err := s.readManifest(ctx, head)
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		for seg, err := range s.store.Segments(ctx, m, pane.KindExpired, pane.Selector{}) {
			if err != nil {
				return nil, fmt.Errorf("partition %d: %w", p, err)
			}
			if seg.MinSeq*placesPerFrame < before {
				segments = append(segments, scanSegment{Segment: seg, partition: p})
			}
		}
	}
	slices.SortFunc(segments, func(a, b scanSegment) int { return cmp.Compare(b.MaxSeq, a.MaxSeq) })
	newestFirst := func(a, b gridloom.Reading) int { return cmp.Compare(pageOf(&b), pageOf(&a)) }
	var rows []gridloom.Reading
	for i := range segments {
		seg := &segments[i]
		if len(rows) >= limit && rows[limit-1].Sequence > seg.MaxSeq {
			break // the others are older still
		}
		err := s.store.ReadExpired(ctx, seg.Segment, pane.Selector{}, func(r *gridloom.Reading) error {
			if pageOf(r) >= before {
				return nil
			}
			rows = append(rows, *r)
			if len(rows) >= 4*limit { // a segment may hold many
				slices.SortFunc(rows, newestFirst)
				rows = rows[:limit]
			}
			return nil
		})
		if err != nil {
			return nil, segmentFailed(seg, err)
		}
		slices.SortFunc(rows, newestFirst)
	}
	rows = rows[:min(len(rows), limit)]
	rejects := make([]gridloom.Reject, len(rows))
	for i := range rows {
		var err error
		if rejects[i], err = rejectOf(&rows[i]); err != nil {
			return nil, fmt.Errorf("reading %d of frame %d: %w", rows[i].Place, rows[i].Sequence, err)
		}
	}
	return rejects, nil
}

// rejectOf tells an expired reading as a reject, whose payload is what a device could send.
func rejectOf(r *gridloom.Reading) (gridloom.Reject, error) {
	payload := struct {
		Meter    string          `json:"meter"`
		Register string          `json:"register"`
		At       string          `json:"at"`
		Length   string          `json:"length,omitempty"`
		Value    json.RawMessage `json:"value"` // in the register's unit
		Serial   string          `json:"serial,omitempty"`
	}{Meter: r.Meter, Register: r.Register.Info().Alias, At: r.Start.String(), Value: json.RawMessage("null"), Serial: r.Serial}
	if r.Length > 0 {
		payload.Length = r.Length.Duration().String()
	}
	if !r.Void {
		payload.Value = appendDecimal(nil, r.Value, thousandths)
	}
	text, err := json.Marshal(payload)
	return gridloom.Reject{
		Sequence: pageOf(r), At: r.LoggedAt, Reason: reasonExpired, Payload: text, Client: r.Agent,
		Detail: "readings of that time are no longer kept: it was acknowledged, and is listed here alone",
		Place:  fmt.Sprintf("frame %d, reading %d", r.Sequence, r.Place),
	}, err
}
